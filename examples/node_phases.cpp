// Shows the order of callbacks: timeouts first, then immediates. After each callback come the ticks and then the
// microtasks. Node prints the same for the same program. There a microtask is `Promise.resolve().then(...)`.
#include <onloop/node/phases.hpp>

#include <iostream>

namespace node = onloop::node;

int main() {
  onloop::Context context{onloop::native()};
  const auto log = [](const char* line) { std::cout << line << '\n'; };

  node::set_timeout(context, [&] {
    node::queue_microtask(context, [&] {
      log("promise resolve in timeout");
      node::next_tick(context, [&] { log("tick task in timeout promise"); });
    });
    node::next_tick(context, [&] {
      log("tick task in timeout");
      node::next_tick(context, [&] { log("tick task in timeout->tick"); });
    });
    log("timer task");
  });

  node::set_immediate(context, [&] {
    node::next_tick(context, [&] { log("immediate->tick task"); });
    log("immediate task");
  });

  node::queue_microtask(context, [&] { log("promise resolve"); });

  node::next_tick(context, [&] { log("tick task"); });

  log("run main thread");
  context.run();
}
