// An application on a libuv loop. It has a timer, signals, a descriptor and an idle handle of its own. While it runs,
// it can start an echo service and stop it again. Only the struct EchoService uses onloop.
//
//     echo_in_libuv_app [ADDRESS]      default: 127.0.0.1:0
//
// Standard input takes the commands start, stop and status. The end of standard input, SIGINT or SIGTERM end the
// application.
#include <signal.h>
#include <unistd.h>
#include <uv.h>
#include <onloop/libuv.hpp>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <optional>
#include <string>

#include "parts.hpp"

namespace {

/// The service. It serves on the application's loop from its construction to its destruction. After the destruction all
/// of its sockets are closed. Its handles are gone after the next turn of the loop.
struct EchoService {
  EchoService(uv_loop_t* loop, const std::string& address) : context{onloop::libuv(loop)} {
    const onloop::Listener& listener = context.listen(address, echo);
    example::say("listening on " + listener.address().to_string() + " (libuv)");
  }
  onloop::Echo echo;
  onloop::Context context;
};

struct Application {
  uv_loop_t* loop = uv_default_loop();
  uv_timer_t timer{};
  uv_idle_t idle{};
  uv_poll_t input{};
  uv_signal_t interrupt{};
  uv_signal_t terminate{};
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

void on_idle(uv_idle_t* idle) {
  ++static_cast<Application*>(idle->data)->idle_callbacks;
  uv_idle_stop(idle);
}

/// Each tick of the timer schedules work for the next turn of the loop.
void on_timer(uv_timer_t* timer) {
  auto& application = *static_cast<Application*>(timer->data);
  application.ticks.tick();
  uv_idle_start(&application.idle, on_idle);
}

void on_input(uv_poll_t* input, int, int) {
  auto& application = *static_cast<Application*>(input->data);
  if (!application.commands.read(STDIN_FILENO)) uv_stop(application.loop);
}

void on_signal(uv_signal_t* signal, int) {
  uv_stop(signal->loop);
}

}  // namespace

int main(int argc, char** argv) try {
  Application application;
  if (argc > 1) application.address = argv[1];
  uv_loop_t* loop = application.loop;
  uv_timer_init(loop, &application.timer);
  uv_idle_init(loop, &application.idle);
  uv_signal_init(loop, &application.interrupt);
  uv_signal_init(loop, &application.terminate);
  if (const int error = uv_poll_init(loop, &application.input, STDIN_FILENO)) {
    std::fprintf(stderr, "echo_in_libuv_app: standard input can't be watched: %s\n", uv_strerror(error));
    return 1;
  }
  application.timer.data = application.idle.data = application.input.data = &application;
  const auto period = static_cast<std::uint64_t>(example::Ticks::kPeriod.count());
  uv_timer_start(&application.timer, on_timer, period, period);
  uv_poll_start(&application.input, UV_READABLE, on_input);
  uv_signal_start(&application.interrupt, on_signal, SIGINT);
  uv_signal_start(&application.terminate, on_signal, SIGTERM);

  application.service.emplace(loop, application.address);
  uv_run(loop, UV_RUN_DEFAULT);
  application.service.reset();

  const auto close = [](uv_handle_t* handle, void*) {
    if (!uv_is_closing(handle)) uv_close(handle, nullptr);
  };
  uv_walk(loop, close, nullptr);
  uv_run(loop, UV_RUN_DEFAULT);
  return uv_loop_close(loop) == 0 ? 0 : 1;  // EBUSY would mean that the service has left a handle behind
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_in_libuv_app: %s\n", error.what());
  return 1;
}
