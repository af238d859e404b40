// In which order things come: timeouts, then immediates, and after each callback the ticks and then the microtasks.
// Node prints the same for the same program, in which a microtask is `Promise.resolve().then(...)`.
#include <onloop/phases.hpp>

#include <iostream>

namespace net = onloop::net;

int main() {
  onloop::Context context{onloop::native()};
  const auto log = [](const char* line) { std::cout << line << '\n'; };

  net::set_timeout(context, [&] {
    net::queue_microtask(context, [&] {
      log("promise resolve in timeout");
      net::next_tick(context, [&] { log("tick task in timeout promise"); });
    });
    net::next_tick(context, [&] {
      log("tick task in timeout");
      net::next_tick(context, [&] { log("tick task in timeout->tick"); });
    });
    log("timer task");
  });

  net::set_immediate(context, [&] {
    net::next_tick(context, [&] { log("immediate->tick task"); });
    log("immediate task");
  });

  net::queue_microtask(context, [&] { log("promise resolve"); });

  net::next_tick(context, [&] { log("tick task"); });

  log("run main thread");
  context.run();
}
