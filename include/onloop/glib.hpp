#pragma once
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
typedef struct _GMainContext GMainContext;  // as in <glib.h>
ONLOOP_API extern const onloop_ops onloop_shim_glib;
}

namespace onloop {

/// A GLib main context of onloop's own, which Context::run() iterates.
[[nodiscard]] ONLOOP_API Loop glib() noexcept;
/// The application's own main context: g_main_context_default(), or another one. Whoever iterates it serves the
/// onloop context: g_main_loop_run(), g_application_run(), gtk_main(). Null is refused (EINVAL). The onloop context may
/// be destroyed in any callback; it holds a reference to the main context until then.
/// Loop::priority takes GLib's priorities. Default: G_PRIORITY_DEFAULT; a guest that is always ready lets sources of
/// lower priority (redrawing, idle) run each few milliseconds all the same.
[[nodiscard]] ONLOOP_API Loop glib(GMainContext* context);

}  // namespace onloop
