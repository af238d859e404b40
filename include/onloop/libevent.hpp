#pragma once
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
struct event_base;
ONLOOP_API extern const onloop_ops onloop_shim_libevent;
}

namespace onloop {

/// A libevent base of onloop's own, which Context::run() iterates.
[[nodiscard]] ONLOOP_API Loop libevent() noexcept;
/// The application's own base. Whoever runs it (event_base_dispatch, event_base_loop) serves the onloop context, and it
/// does not run out of events before the context is destroyed, which may be in any callback. Null is refused (EINVAL).
/// In a forked child, destroying the context or Context::after_fork() calls event_reinit(), as any use of the base
/// there requires. Loop::priority takes libevent's priorities, of which the base has event_base_get_npriorities(), set
/// before. Default: the middle one, as for every event; a guest that is always ready lets events of lower priority run
/// each few milliseconds all the same. A base with a changelist (EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) refuses direct
/// hosting.
[[nodiscard]] ONLOOP_API Loop libevent(event_base* base);

}  // namespace onloop
