// An echo service that starts on onloop's own loop. When the application opens a GLib main loop, the service moves
// there with its live connections. When that loop ends, the service moves back. A daemon that has a window for a while
// does the same.
//
//     echo_moves_to_glib_loop [ADDRESS]      default: 127.0.0.1:0
//
// SIGUSR1 opens and closes the main loop. SIGINT or SIGTERM end the program.
#include <glib.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <onloop/glib.hpp>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <string>

namespace {

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

onloop::Descriptor signals_as_descriptor() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return onloop::Descriptor(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

int main(int argc, char** argv) try {
  GMainLoop* main_loop = g_main_loop_new(nullptr, FALSE);
  const onloop::Descriptor signals = signals_as_descriptor();
  {
    onloop::Echo echo;
    onloop::Context context{onloop::native()};
    const onloop::Listener& listener = context.listen(argc > 1 ? argv[1] : "127.0.0.1:0", echo);
    bool on_glib = false;
    bool over = false;

    // This watch moves too.
    const onloop::Watch watch = context.watch(signals.get(), onloop::Interest::read, [&](onloop::Interest) {
      signalfd_siginfo signal{};
      if (read(signals.get(), &signal, sizeof signal) != sizeof signal) return;
      over = signal.ssi_signo != SIGUSR1;
      if (over) {
        context.stop();
      } else if (!on_glib) {
        context.move_to(onloop::glib(g_main_loop_get_context(main_loop)));  // run() returns: it runs no foreign loop
      } else {
        context.move_to(onloop::native());
      }
      on_glib = !on_glib && !over;
      if (!on_glib) g_main_loop_quit(main_loop);
      if (!over) say("now on " + std::string(context.loop().name()));
    });

    say("listening on " + listener.address().to_string() + " (native)");
    while (!over) {
      context.run();
      if (on_glib) g_main_loop_run(main_loop);
    }
  }
  g_main_loop_unref(main_loop);
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_moves_to_glib_loop: %s\n", error.what());
  return 1;
}
