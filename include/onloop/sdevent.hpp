#pragma once
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
typedef struct sd_event sd_event;  // as in <systemd/sd-event.h>
ONLOOP_API extern const onloop_ops onloop_shim_sdevent;
}

namespace onloop {

/// An sd-event loop of onloop's own, which Context::run() iterates.
[[nodiscard]] ONLOOP_API Loop sdevent() noexcept;
/// The application's own loop. Whoever runs it (sd_event_loop, sd_event_run) serves the onloop context. Null is refused
/// (EINVAL). The onloop context may be destroyed in any callback; it holds a reference to the loop until then.
/// Loop::priority takes sd-event's priorities. Default: SD_EVENT_PRIORITY_NORMAL; a guest that is always ready lets
/// sources of lower priority run each few milliseconds all the same.
[[nodiscard]] ONLOOP_API Loop sdevent(sd_event* loop);

}  // namespace onloop
