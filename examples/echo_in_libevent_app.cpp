// An application on a libevent base. It has a timer, signals, a descriptor and work of low priority of its own. While
// it runs, it can start an echo service and stop it again. Only the struct EchoService uses onloop.
//
//     echo_in_libevent_app [ADDRESS]      default: 127.0.0.1:0
//
// Standard input takes the commands start, stop and status. The end of standard input, SIGINT or SIGTERM end the
// application.
#include <event2/event.h>
#include <signal.h>
#include <unistd.h>
#include <onloop/libevent.hpp>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "parts.hpp"

namespace {

/// The service. It serves on the application's base from its construction to its destruction. After the destruction all
/// of its sockets are closed, and the base is as before.
struct EchoService {
  EchoService(event_base* base, const std::string& address) : context{onloop::libevent(base)} {
    const onloop::Listener& listener = context.listen(address, echo);
    example::say("listening on " + listener.address().to_string() + " (libevent)");
  }
  onloop::Echo echo;
  onloop::Context context;
};

struct Application {
  event_base* base = event_base_new();
  event* timer = nullptr;
  event* idle = nullptr;
  std::string address = "127.0.0.1:0";
  std::optional<EchoService> service;
  example::Ticks ticks;
  unsigned long idle_callbacks = 0;
  example::Commands commands{[this] { service.emplace(base, address); },
                             [this] {
                               service.reset();
                               example::say("stopped");
                             },
                             [this] {
                               example::say_status(ticks, idle_callbacks, service.has_value(),
                                                   service ? service->context.statistics().connections : 0);
                             }};
};

/// Each tick of the timer schedules work of low priority. It runs when nothing of a higher priority is to be done.
void on_timer(evutil_socket_t, short, void* data) {
  auto& application = *static_cast<Application*>(data);
  application.ticks.tick();
  event_active(application.idle, EV_TIMEOUT, 0);
}

void on_idle(evutil_socket_t, short, void* data) {
  ++static_cast<Application*>(data)->idle_callbacks;
}

void on_input(evutil_socket_t fd, short, void* data) {
  auto& application = *static_cast<Application*>(data);
  if (!application.commands.read(fd)) event_base_loopbreak(application.base);
}

void on_signal(evutil_socket_t, short, void* data) {
  event_base_loopbreak(static_cast<Application*>(data)->base);
}

}  // namespace

int main(int argc, char** argv) try {
  Application application;
  if (argc > 1) application.address = argv[1];
  event_base* base = application.base;
  event_base_priority_init(base, 3);  // 1, the middle priority, is the default, also for the service

  event* input = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &application);
  event* interrupt = evsignal_new(base, SIGINT, on_signal, &application);
  event* terminate = evsignal_new(base, SIGTERM, on_signal, &application);
  application.idle = event_new(base, -1, 0, on_idle, &application);
  event_priority_set(application.idle, 2);
  application.timer = event_new(base, -1, EV_PERSIST, on_timer, &application);
  const timeval period{0, std::chrono::microseconds{example::Ticks::kPeriod}.count()};
  event_add(application.timer, &period);
  if (event_add(input, nullptr) != 0 || event_add(interrupt, nullptr) != 0 || event_add(terminate, nullptr) != 0) {
    std::fprintf(stderr, "echo_in_libevent_app: standard input or a signal can't be watched\n");
    return 1;
  }

  application.service.emplace(base, application.address);
  event_base_dispatch(base);
  application.service.reset();
  for (event* own : {application.timer, application.idle, input, interrupt, terminate}) event_free(own);
  event_base_free(base);
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_in_libevent_app: %s\n", error.what());
  return 1;
}
