#pragma once
/// @file
/// Loops of GLib. A program that includes this header links the shim onloop::glib.
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
typedef struct _GMainContext GMainContext;  ///< GLib's own type, as glib.h declares it
/// The table of this shim. glib() makes a Loop of it.
ONLOOP_API extern const onloop_ops onloop_shim_glib;
}

namespace onloop {

/// @return A loop on a GLib main context that onloop owns. Context::run() iterates it.
[[nodiscard]] ONLOOP_API Loop glib() noexcept;
/// A loop on a main context of the application: g_main_context_default(), or another one. Any code that iterates the
/// main context serves the onloop context: g_main_loop_run(), g_application_run(), gtk_main().
///
/// The onloop context holds a reference to the main context until it is destroyed. It may be destroyed in any callback.
///
/// Loop::priority takes GLib's priorities. The default is G_PRIORITY_DEFAULT. Even if the guest is always ready,
/// sources of lower priority (redrawing, idle) run each few milliseconds.
/// @throws std::system_error with EINVAL if `context` is null.
[[nodiscard]] ONLOOP_API Loop glib(GMainContext* context);

}  // namespace onloop
