// A systemd service (Type=notify, with WatchdogSec= if you want) on sd-event. It has a timer, signals, a descriptor and
// idle work of its own. While it runs, it can start an echo service and stop it again. Only the struct EchoService uses
// onloop.
//
//     echo_in_sdevent_service [ADDRESS]      default: 127.0.0.1:0; fd:3 for a socket that systemd passes
//
// Standard input takes the commands start, stop and status. The end of standard input, SIGINT or SIGTERM end the
// application.
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include <onloop/onloop.hpp>
#include <onloop/sdevent.hpp>

#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <system_error>

#include "parts.hpp"

namespace {

/// The service. It serves on the application's loop from its construction to its destruction. After the destruction all
/// of its sockets are closed, and the loop is as before.
struct EchoService {
  EchoService(sd_event* loop, const std::string& address) : context{onloop::sdevent(loop)} {
    const onloop::Listener& listener = context.listen(address, echo);
    example::say("listening on " + listener.address().to_string() + " (sdevent)");
  }
  onloop::Echo echo;
  onloop::Context context;
};

struct Application {
  sd_event* loop = nullptr;
  sd_event_source* idle = nullptr;
  std::string address = "127.0.0.1:0";
  std::optional<EchoService> service;
  example::Ticks ticks;
  unsigned long idle_callbacks = 0;
  example::Commands commands{[this] { service.emplace(loop, address); },
                             [this] {
                               service.reset();
                               example::say("stopped");
                             },
                             [this] {
                               example::say_status(ticks, idle_callbacks, service.has_value(),
                                                   service ? service->context.statistics().connections : 0);
                             }};
};

/// Each tick of the timer schedules idle work, which runs when nothing else is to be done.
int on_timer(sd_event_source* timer, std::uint64_t, void* data) {
  auto& application = *static_cast<Application*>(data);
  application.ticks.tick();
  sd_event_source_set_enabled(application.idle, SD_EVENT_ONESHOT);
  sd_event_source_set_time_relative(timer, std::chrono::microseconds{example::Ticks::kPeriod}.count());
  return sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

int on_idle(sd_event_source*, void* data) {
  ++static_cast<Application*>(data)->idle_callbacks;
  return 0;
}

int on_input(sd_event_source* input, int fd, std::uint32_t, void* data) {
  if (static_cast<Application*>(data)->commands.read(fd)) return 0;
  return sd_event_exit(sd_event_source_get_event(input), 0);
}

/// Throws if a function of sd-event has failed. A result below zero is an error.
void check(int result, const char* what) {
  if (result < 0) throw std::system_error(-result, std::generic_category(), what);
}

/// Adds the sources of the application. Most of them have no handle in the application: the loop keeps them.
void add_sources(Application& application) {
  sd_event* loop = application.loop;
  check(sd_event_add_time_relative(loop, nullptr, CLOCK_MONOTONIC, 0, 1, on_timer, &application), "add the timer");
  check(sd_event_add_defer(loop, &application.idle, on_idle, &application), "add the idle work");
  sd_event_source_set_enabled(application.idle, SD_EVENT_OFF);
  sd_event_source_set_priority(application.idle, SD_EVENT_PRIORITY_IDLE);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);  // sd-event reads the signals from a signalfd
  // Without a handler a signal makes the loop exit.
  check(sd_event_add_signal(loop, nullptr, SIGINT, nullptr, nullptr), "add SIGINT");
  check(sd_event_add_signal(loop, nullptr, SIGTERM, nullptr, nullptr), "add SIGTERM");

  // Usually the standard input of a service is /dev/null, which epoll cannot watch. Then there are no commands.
  const int result = sd_event_add_io(loop, nullptr, STDIN_FILENO, EPOLLIN, on_input, &application);
  if (result != -EPERM) check(result, "watch standard input");
  check(sd_event_set_watchdog(loop, 1), "set the watchdog");  // this does nothing unless systemd asks for it
}

}  // namespace

int main(int argc, char** argv) try {
  Application application;
  if (argc > 1) application.address = argv[1];
  check(sd_event_default(&application.loop), "make a loop");
  add_sources(application);

  application.service.emplace(application.loop, application.address);
  sd_notify(0, "READY=1");
  const int status = sd_event_loop(application.loop);
  sd_notify(0, "STOPPING=1");
  application.service.reset();
  sd_event_source_unref(application.idle);
  sd_event_unref(application.loop);
  return status < 0 ? 1 : status;
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_in_sdevent_service: %s\n", error.what());
  return 1;
}
