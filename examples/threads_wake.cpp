// Threads beside a loop, the plain way: what a thread wants done by the loop's thread it leaves in a shared list, under
// a lock, and then wakes the loop, which takes the list. Here threads work out how many primes there are below a
// number, and the loop's thread, the only one that may call a connection, sends the answers. Echo goes on meanwhile.
//
//     threads_wake [LOOP[:direct|:aggregate]]      native unless given; SIGINT or SIGTERM end it
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

/// The shared list.
class Answers {
 public:
  void leave(Answer answer) {
    const std::lock_guard lock(mutex_);
    list_.push_back(std::move(answer));
  }
  /// All at once, so that the lock is not held while they are sent.
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
      loop.wake();  // comes to nothing if the context has gone meanwhile
    });
  }};
  onloop::ContextOptions options;
  // Once for any number of wake-ups, so all that is there has to be taken.
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
