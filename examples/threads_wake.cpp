// Threads beside a loop, the plain way. A thread puts what the loop's thread has to do into a shared list, under a
// lock, and then wakes the loop. The loop's thread takes the list. Here the threads count the primes below a number,
// and the loop's thread sends the answers, since only that thread may call a connection. Echo continues meanwhile.
//
//     threads_wake [LOOP[:direct|:aggregate]]      default: native; SIGINT or SIGTERM end it
#include <signal.h>
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "loop_argument.hpp"
#include "parts.hpp"
#include "primes.hpp"

namespace {

struct Answer {
  onloop::Ref asker;
  std::uint64_t primes;
};

/// The shared list of answers.
class Answers {
 public:
  void leave(Answer answer) {
    const std::lock_guard lock(mutex_);
    list_.push_back(std::move(answer));
  }
  /// Takes the whole list at once, so that the lock is not held while the answers are sent.
  std::vector<Answer> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(list_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Answer> list_;
};

}  // namespace

int main(int argc, char** argv) try {
  Answers answers;
  example::Workers workers{3};
  example::Questions questions{[&](const onloop::Ref& asker, std::uint64_t limit) {
    workers.give([&answers, loop = asker->context().remote(), asker, limit](const std::stop_token& stop) {
      answers.leave({asker, example::count_primes(limit, stop)});
      loop.wake();  // this does nothing if the context is destroyed meanwhile
    });
  }};
  onloop::ContextOptions options;
  // on_wake is called once for any number of wake-ups, so it must take all answers.
  options.on_wake = [&] {
    for (const Answer& answer : answers.take()) questions.answer(answer.asker, answer.primes);
  };
  onloop::Echo echo;
  onloop::Context context{example::loop_of(argc > 1 ? argv[1] : "native"), options};

  const onloop::Signal interrupt = context.on_signal(SIGINT, [&] { context.stop(); });
  const onloop::Signal terminate = context.on_signal(SIGTERM, [&] { context.stop(); });
  const std::string loop{context.loop().name()};
  example::say("listening on " + context.listen("127.0.0.1:0", echo).address().to_string() + " (" + loop + ")");
  example::say("primes on " + context.listen("127.0.0.1:0", questions).address().to_string());
  context.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "threads_wake: %s\n", error.what());
  return 1;
}
