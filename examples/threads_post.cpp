// Threads beside a loop, the short way. A thread posts a task to the loop's thread. The task carries everything that it
// needs. Nothing is shared, so there is no lock. Otherwise the program is the same as threads_wake.cpp.
//
//     threads_post [LOOP[:direct|:aggregate]]      default: native; SIGINT or SIGTERM end it
#include <signal.h>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <string>

#include "loop_argument.hpp"
#include "parts.hpp"
#include "primes.hpp"

int main(int argc, char** argv) try {
  example::Workers workers{3};
  example::Questions questions{[&](const onloop::Ref& asker, std::uint64_t limit) {
    workers.give([&questions, loop = asker->context().remote(), asker, limit](const std::stop_token& stop) {
      const std::uint64_t primes = example::count_primes(limit, stop);
      // post() returns false and drops the task if the context is destroyed meanwhile.
      loop.post([&questions, asker, primes] { questions.answer(asker, primes); });
    });
  }};
  onloop::Echo echo;
  onloop::Context context{example::loop_of(argc > 1 ? argv[1] : "native")};

  const onloop::Signal interrupt = context.on_signal(SIGINT, [&] { context.stop(); });
  const onloop::Signal terminate = context.on_signal(SIGTERM, [&] { context.stop(); });
  const std::string loop{context.loop().name()};
  example::say("listening on " + context.listen("127.0.0.1:0", echo).address().to_string() + " (" + loop + ")");
  example::say("primes on " + context.listen("127.0.0.1:0", questions).address().to_string());
  context.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "threads_post: %s\n", error.what());
  return 1;
}
