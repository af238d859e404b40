#pragma once
/// @file
/// Loops of libevent. A program that includes this header links the shim onloop::libevent.
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
struct event_base;
/// The table of this shim. libevent() makes a Loop of it.
ONLOOP_API extern const onloop_ops onloop_shim_libevent;
}

namespace onloop {

/// @return A loop on a libevent base that onloop owns. Context::run() iterates it.
[[nodiscard]] ONLOOP_API Loop libevent() noexcept;
/// A loop on a base of the application. Any code that runs the base (event_base_dispatch, event_base_loop) serves the
/// onloop context. The base does not run out of events before the context is destroyed. The context may be destroyed in
/// any callback.
///
/// In a forked child, destroying the context or calling Context::after_fork() calls event_reinit(). Any use of the base
/// in the child requires this.
///
/// Loop::priority takes libevent's priorities. The base has event_base_get_npriorities() of them; set their number
/// before. The default is the middle priority, as for every event. Even if the guest is always ready, events of lower
/// priority run each few milliseconds.
///
/// A base with a changelist (EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) refuses direct hosting.
/// @throws std::system_error with EINVAL if `base` is null.
[[nodiscard]] ONLOOP_API Loop libevent(event_base* base);

}  // namespace onloop
