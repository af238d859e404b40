// A module for GIO, which any program on GLib loads from GIO_EXTRA_MODULES: an echo service on its main loop.
//
// GIO loads its modules when it first wants one: before there is a main loop, in whatever thread. So nothing starts
// here but an idle source of the default main context. Whoever iterates that is the host; a program that never does
// is left alone.

#include <gio/gio.h>
#include <onloop/glib.hpp>

#include "guest.hpp"

namespace {

graft::Guest* guest;  // to the end of the process, as the default main context

gboolean on_idle(void*) {
  guest = graft::invite(onloop::glib(g_main_context_default())).release();
  return G_SOURCE_REMOVE;
}

}  // namespace

extern "C" {

G_MODULE_EXPORT void g_io_module_load(GIOModule* module) {
  g_type_module_use(G_TYPE_MODULE(module));  // and never unused: the loop holds pointers to what is here
  g_idle_add_full(G_PRIORITY_DEFAULT, on_idle, nullptr, nullptr);
}

G_MODULE_EXPORT void g_io_module_unload(GIOModule*) {}

/// It implements no extension point of GIO's.
G_MODULE_EXPORT char** g_io_module_query() {
  return g_new0(char*, 1);
}
}
