#include <pthread.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {

TEST_P(OnContext, C63_stop_inside_a_callback_ends_run_at_the_end_of_the_turn) {
  Context context{loop()};
  std::vector<int> order;
  for (int i = 0; i < 2; ++i) {
    order.clear();
    context.post([&] {
      finish();
      context.post([&] { order.push_back(2); });  // runs in the next turn
      order.push_back(1);
    });
    run(context);
    EXPECT_EQ(order, (std::vector<int>{1}));
    turns(context);
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
  }
}

TEST_P(OnContext, C64_stop_before_run_makes_the_next_run_return_at_once) {
  Context context{loop()};
  const Timer late = context.timer(1h, [] {});
  context.stop();
  context.run();
  context.post([&] { finish(); });  // the stop ends only the next run()
  run(context);
}

TEST_P(OnContext, C65_run_is_refused_in_words_inside_a_callback_and_on_a_foreign_loop) {
  Context context{loop()};
  if (context.loop().foreign()) {
    EXPECT_TRUE(is(error_of([&] { context.run(); }), std::errc::not_supported));
    return;
  }
  std::error_code error;
  context.post([&] {
    error = error_of([&] { context.run(); });
    finish();
  });
  run(context);
  EXPECT_TRUE(is(error, std::errc::device_or_resource_busy)) << error.message();
}

// An exception must not cross a C frame. On an owned loop, run() or dispatch() throws it to its caller. On a foreign
// loop ContextOptions::on_exception gets it.
TEST_P(OnContext, an_exception_of_a_callback_does_not_cross_the_loop) {
  int seen = 0;
  ContextOptions options;
  options.on_exception = [&](const std::exception_ptr& exception) {
    ++seen;
    EXPECT_THROW(std::rethrow_exception(exception), std::runtime_error);
  };
  Context context{loop(), options};
  const bool foreign = context.loop().foreign() != nullptr;
  const Pair pair = socket_pair();
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (!take(pair.near.get()).empty()) throw std::runtime_error("in a watch");
  });
  for (int round = 0; round < 6; ++round) {
    Timer timer;
    if (round % 3 == 0) context.post([] { throw std::runtime_error("in a task"); });
    if (round % 3 == 1) timer = context.timer(0ns, [] { throw std::runtime_error("in a timer"); });
    if (round % 3 == 2) put(pair.far.get());
    if (foreign) {
      ASSERT_TRUE(until(context, [&] { return seen == round + 1; }));
    } else {
      ASSERT_THROW(run(context, 2s), std::runtime_error) << "round " << round;
    }
  }
  EXPECT_EQ(seen, foreign ? 6 : 0);
  context.post([&] { finish(); });  // the loop can be run again
  run(context);
}

TEST_P(Ops, C67_a_zero_wait_does_not_block) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ);
  if (guest.ops().deadline_set) guest.deadline_in(1h);
  const std::uint64_t start = monotonic_ns();
  for (int i = 0; i < 100; ++i) guest.turn(0ns);
  EXPECT_LT(monotonic_ns() - start, 1'000'000'000u);
}

TEST_P(OnContext, C67_dispatch_does_not_block) {
  Context context{loop()};
  const Timer late = context.timer(1h, [] {});
  const std::uint64_t start = monotonic_ns();
  turns(context, 100);
  EXPECT_LT(monotonic_ns() - start, 2'000'000'000u);
}

// A timer of the kernel sends a signal to this thread each millisecond.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction action {};
    action.sa_handler = [](int) { ++count; };
    ::sigaction(SIGUSR2, &action, &former_);  // without SA_RESTART
    count = 0;
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR2;
    ::timer_create(CLOCK_MONOTONIC, &event, &timer_);
    const itimerspec each_millisecond{{0, 1'000'000}, {0, 1'000'000}};
    ::timer_settime(timer_, 0, &each_millisecond, nullptr);
  }
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;
  ~Interruptions() {
    ::timer_delete(timer_);
    ::sigaction(SIGUSR2, &former_, nullptr);
  }
  static inline std::atomic<int> count{0};

 private:
  struct sigaction former_ {};
  timer_t timer_{};
};

TEST_P(Ops, C68_an_interrupted_wait_is_retried_with_the_time_that_is_left) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ);
  const Interruptions interruptions;
  const std::uint64_t start = monotonic_ns();
  guest.turn(50ms);
  const std::uint64_t took = monotonic_ns() - start;
  EXPECT_GT(Interruptions::count, 0) << "nothing was interrupted, so nothing was shown";
  EXPECT_GE(took, 50'000'000u) << "the wait ended at the first signal";
  EXPECT_LT(took, 5'000'000'000u) << "each retry waited for the whole time again";
}

TEST_P(OnContext, C68_timers_and_io_survive_interruptions) {
  const Pair pair = socket_pair();
  Context context{loop()};
  const Interruptions interruptions;
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (!take(pair.near.get()).empty()) finish();
  });
  const auto earliest = std::chrono::steady_clock::now() + 20ms;
  const Timer timer = context.timer(20ms, [&] {
    EXPECT_GE(std::chrono::steady_clock::now(), earliest);
    put(pair.far.get());
  });
  run(context);
  EXPECT_GT(Interruptions::count, 0);
}

}  // namespace onloop::conformance
