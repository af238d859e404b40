#pragma once
/// @file
/// Loops of sd-event. A program that includes this header links the shim onloop::sdevent.
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
typedef struct sd_event sd_event;  ///< libsystemd's own type, as systemd/sd-event.h declares it
/// The table of this shim. sdevent() makes a Loop of it.
ONLOOP_API extern const onloop_ops onloop_shim_sdevent;
}

namespace onloop {

/// @return An sd-event loop that onloop owns. Context::run() iterates it.
[[nodiscard]] ONLOOP_API Loop sdevent() noexcept;
/// A loop of the application. Any code that runs the loop (sd_event_loop, sd_event_run) serves the onloop context.
///
/// The onloop context holds a reference to the loop until it is destroyed. It may be destroyed in any callback.
///
/// Loop::priority takes sd-event's priorities. The default is SD_EVENT_PRIORITY_NORMAL. Even if the guest is always
/// ready, sources of lower priority run each few milliseconds.
/// @throws std::system_error with EINVAL if `loop` is null.
[[nodiscard]] ONLOOP_API Loop sdevent(sd_event* loop);

}  // namespace onloop
