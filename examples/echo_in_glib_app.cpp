// An application on GLib's main loop. It has a timer, signals, a descriptor and idle work of its own. While it runs, it
// can start an echo service and stop it again. Only the struct EchoService uses onloop.
//
//     echo_in_glib_app [ADDRESS]      default: 127.0.0.1:0
//
// Standard input takes the commands start, stop and status. The end of standard input, SIGINT or SIGTERM end the
// application.
#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <unistd.h>
#include <onloop/glib.hpp>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "parts.hpp"

namespace {

/// The service. It serves on the application's loop from its construction to its destruction. After the destruction all
/// of its sockets are closed, and the loop is as before.
struct EchoService {
  explicit EchoService(const std::string& address) {
    const onloop::Listener& listener = context.listen(address, echo);
    example::say("listening on " + listener.address().to_string() + " (glib)");
  }
  onloop::Echo echo;
  onloop::Context context{onloop::glib(g_main_context_default())};
};

struct Application {
  GMainLoop* loop = g_main_loop_new(nullptr, FALSE);
  std::string address = "127.0.0.1:0";
  std::optional<EchoService> service;
  example::Ticks ticks;
  unsigned long idle_callbacks = 0;
  example::Commands commands{[this] { service.emplace(address); },
                             [this] {
                               service.reset();
                               example::say("stopped");
                             },
                             [this] {
                               example::say_status(ticks, idle_callbacks, service.has_value(),
                                                   service ? service->context.statistics().connections : 0);
                             }};
};

/// Each tick of the timer schedules idle work, which runs when nothing else is to be done. In a window, redrawing is
/// such work.
gboolean on_timer(void* data) {
  static_cast<Application*>(data)->ticks.tick();
  g_idle_add_once([](void* application) { ++static_cast<Application*>(application)->idle_callbacks; }, data);
  return G_SOURCE_CONTINUE;
}

gboolean on_input(int fd, GIOCondition, void* data) {
  auto& application = *static_cast<Application*>(data);
  if (application.commands.read(fd)) return G_SOURCE_CONTINUE;
  g_main_loop_quit(application.loop);
  return G_SOURCE_REMOVE;
}

gboolean on_signal(void* data) {
  g_main_loop_quit(static_cast<Application*>(data)->loop);
  return G_SOURCE_CONTINUE;
}

}  // namespace

int main(int argc, char** argv) try {
  Application application;
  if (argc > 1) application.address = argv[1];
  g_timeout_add(example::Ticks::kPeriod.count(), on_timer, &application);
  g_unix_fd_add(STDIN_FILENO, static_cast<GIOCondition>(G_IO_IN | G_IO_HUP | G_IO_ERR), on_input, &application);
  g_unix_signal_add(SIGINT, on_signal, &application);
  g_unix_signal_add(SIGTERM, on_signal, &application);

  application.service.emplace(application.address);
  g_main_loop_run(application.loop);
  application.service.reset();
  g_main_loop_unref(application.loop);
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_in_glib_app: %s\n", error.what());
  return 1;
}
