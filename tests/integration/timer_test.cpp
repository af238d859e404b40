// Timers of a context. A timer may come late on a busy machine. The tests assert the order, the number, and that no
// timer comes early.
#include <unistd.h>

#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Timers : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Timers);

// Holds the thread up, as a slow callback does.
void busy_for(std::chrono::nanoseconds time) {
  const auto until = Clock::now() + time;
  while (Clock::now() < until) {
  }
}

TEST_P(Timers, FireInTheOrderOfTheirDeadlines) {
  std::string order;
  Context context{GetParam().make()};
  Timer first;
  Timer second;
  Timer third;
  const auto set = [&] {
    const auto start = Clock::now();
    third = context.timer(60ms, [&] { order += '3'; });
    first = context.timer(20ms, [&] { order += '1'; });
    second = context.timer(40ms, [&] { order += '2'; });
    return Clock::now() - start;
  };
  for (int i = 0; i < 100 && set() > 15ms; ++i) {  // again if the machine stalls between two calls
  }
  ASSERT_TRUE(run_until(context, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "123");
}

TEST_P(Timers, OfOneDelayFireInTheOrderInWhichTheyWereSet) {
  std::vector<int> order;
  std::vector<Timer> timers;
  Context context{GetParam().make()};
  for (const auto delay : {0ms, 2ms}) {
    order.clear();
    timers.clear();
    for (int i = 0; i < 100; ++i) timers.push_back(context.timer(delay, [&order, i] { order.push_back(i); }));
    ASSERT_TRUE(run_until(context, [&] { return order.size() == 100; }));
    for (int i = 0; i < 100; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TEST_P(Timers, AreNeverEarly) {
  Context context{GetParam().make()};
  for (const auto delay : {0ns, 1ns, 1'000ns, 999'999ns, 1'000'001ns, 3'500'000ns}) {
    auto fired = Clock::time_point{};
    const auto set = Clock::now();
    const Timer timer = context.timer(delay, [&] { fired = Clock::now(); });
    ASSERT_TRUE(run_until(context, [&] { return fired != Clock::time_point{}; }));
    EXPECT_GE((fired - set).count(), delay.count());
  }
}

TEST_P(Timers, SetAtTheEndOfASlowCallbackAreNotEarly) {
  auto set = Clock::time_point{};
  auto fired = Clock::time_point{};
  Timer second;
  const Timer first = context().timer(0ns, [&] {
    busy_for(5ms);
    set = Clock::now();
    second = context().timer(4ms, [&] { fired = Clock::now(); });
  });
  ASSERT_TRUE(run_until(context(), [&] { return fired != Clock::time_point{}; }));
  EXPECT_GE(fired - set, 4ms);
}

TEST_P(Timers, OfZeroOrLessFireInALaterTurn) {
  Context context{GetParam().make()};
  for (const auto delay : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    std::string order;
    Timer zero;
    const Timer outer = context.timer(0ns, [&] {
      zero = context.timer(delay, [&] { order += "timer"; });
      context.post([&] { order += "end of turn "; });
      order += "callback ";
    });
    ASSERT_TRUE(run_until(context, [&] { return order.ends_with("timer"); }));
    EXPECT_EQ(order, "callback end of turn timer");
  }
}

TEST_P(Timers, OfZeroFireNeverInsideTheCall) {
  bool fired = false;
  Context context{GetParam().make()};
  const Timer timer = context.timer(0ns, [&] { fired = true; });
  EXPECT_FALSE(fired);
  EXPECT_TRUE(timer.active());
  EXPECT_TRUE(run_until(context, [&] { return fired; }));
}

TEST_P(Timers, OfZeroThatRearmThemselvesDoNotStarveInput) {
  int rounds = 0;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Timer timer;
  const std::function<void()> again = [&] {
    ++rounds;
    timer = context.timer(0ns, [&] { again(); });
  };
  again();
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  for (int i = 1; i <= 10; ++i) {
    const int before = rounds;
    int rounds_at_data = 0;
    recorder.when_data = [&](Connection&, std::string_view) { rounds_at_data = rounds; };
    line.peer.send("x");
    ASSERT_TRUE(run_until(context, [&] { return recorder.datas == i; }));
    EXPECT_LE(rounds_at_data - before, 100) << "input waited for that many turns";
  }
}

TEST_P(Timers, VeryLongOnesDoNotFire) {
  int fired = 0;
  Context context{GetParam().make()};
  const Timer longest = context.timer(std::chrono::nanoseconds::max(), [&] { ++fired; });
  const Timer centuries = context.timer(std::chrono::hours(24 * 365 * 200), [&] { ++fired; });
  const Timer repeated = context.every(std::chrono::nanoseconds::max(), [&] { ++fired; });
  turns(context);
  EXPECT_EQ(fired, 0);
  EXPECT_TRUE(longest.active() && centuries.active() && repeated.active());
}

TEST_P(Timers, CancelledDoNotFire) {
  int fired = 0;
  bool later = false;
  Context context{GetParam().make()};
  Timer cancelled = context.timer(1ms, [&] { ++fired; });
  Timer repeated = context.every(1ms, [&] { ++fired; });
  {
    const Timer destroyed = context.timer(1ms, [&] { ++fired; });
  }
  cancelled.cancel();
  repeated.cancel();
  EXPECT_FALSE(cancelled.active());
  EXPECT_FALSE(repeated.active());
  cancelled.cancel();
  const Timer end = context.timer(5ms, [&] { later = true; });
  ASSERT_TRUE(run_until(context, [&] { return later; }));
  EXPECT_EQ(fired, 0);
}

TEST_P(Timers, DueInTheSameTurnMayCancelEachOther) {
  for (const bool destroy : {false, true}) {
    std::string fired;
    Timer first;
    Timer second;
    Context context{GetParam().make()};
    first = context.timer(1ms, [&] {
      fired += '1';
      destroy ? static_cast<void>(second = Timer{}) : second.cancel();
    });
    second = context.timer(1ms, [&] { fired += '2'; });
    busy_for(2ms);
    turns(context);
    EXPECT_EQ(fired, "1");
  }
}

TEST_P(Timers, MayCancelOrReplaceThemselvesInTheirOwnCallback) {
  int once = 0;
  int repeated = 0;
  std::string replaced;
  Context context{GetParam().make()};
  Timer one;
  one = context.timer(0ns, [&] {
    ++once;
    one.cancel();
  });
  Timer each;
  each = context.every(1ms, [&] {
    if (++repeated == 3) each = Timer{};
  });
  Timer next;
  next = context.every(1ms, [&, own = std::string(100, '1')] {
    next = context.timer(1ms, [&] { replaced += '2'; });
    replaced += own[99];  // the callable lives until it returns
  });
  ASSERT_TRUE(run_until(context, [&] { return repeated == 3 && replaced.size() == 2; }));
  turns(context);
  EXPECT_EQ(once, 1);
  EXPECT_EQ(repeated, 3);
  EXPECT_EQ(replaced, "12");
}

TEST_P(Timers, AreInactiveOnceTheyHaveFired) {
  bool fired = false;
  Context context{GetParam().make()};
  Timer timer = context.timer(0ns, [&] { fired = true; });
  ASSERT_TRUE(run_until(context, [&] { return fired; }));
  EXPECT_FALSE(timer.active());
  timer.cancel();
}

TEST_P(Timers, MoveAlong) {
  int fired = 0;
  Context context{GetParam().make()};
  Timer first = context.timer(1ms, [&] { ++fired; });
  Timer second = std::move(first);
  EXPECT_FALSE(first.active());  // NOLINT(bugprone-use-after-move): what is promised of it
  EXPECT_TRUE(second.active());
  Timer overwritten = context.timer(1ms, [&] { fired += 100; });
  overwritten = std::move(second);
  ASSERT_TRUE(run_until(context, [&] { return fired > 0; }));
  turns(context);
  EXPECT_EQ(fired, 1) << "the one that was overwritten was cancelled";
}

TEST_P(Timers, EveryFiresAtMostOnceAPeriodAndNeverEarly) {
  constexpr auto kPeriod = 4ms;
  std::vector<long> slots;
  Context context{GetParam().make()};
  const auto start = Clock::now();
  bool held_up = false;
  const Timer timer = context.every(kPeriod, [&] {
    slots.push_back((Clock::now() - start) / kPeriod);
    if (!held_up && slots.size() == 2) {
      held_up = true;
      busy_for(3 * kPeriod + 1ms);  // misses three
    }
  });
  ASSERT_TRUE(run_until(context, [&] { return slots.size() >= 6; }));
  EXPECT_GE(slots[0], 1) << "the first is a period from now";
  for (std::size_t i = 1; i < slots.size(); ++i) EXPECT_LT(slots[i - 1], slots[i]) << "missed periods are skipped";
  EXPECT_GE(slots[2] - slots[1], 3);
}

// One firing is delayed by half a period. The next one comes at its normal time, so less than a period later. A timer
// that is set again from its last firing never does that.
TEST_P(Timers, EveryDoesNotDrift) {
  constexpr auto kPeriod = 10ms;
  Clock::duration shortest = 1h;
  for (int attempt = 0; attempt < 20 && shortest >= kPeriod; ++attempt) {  // a busy machine may hold up both
    std::vector<Clock::time_point> fired;
    Context context{GetParam().make()};
    const Timer hold_up = context.timer(8ms, [] { busy_for(7ms); });
    const Timer timer = context.every(kPeriod, [&] { fired.push_back(Clock::now()); });
    ASSERT_TRUE(run_until(context, [&] { return fired.size() >= 2; }));
    shortest = std::min(shortest, fired[1] - fired[0]);
  }
  EXPECT_LT(shortest, kPeriod);
}

TEST_P(Timers, EveryWithoutAPeriodIsRefused) {
  for (const auto period : {0ns, -1ns}) {
    EXPECT_TRUE(is(thrown_by([&] { return context().every(period, [] {}); }).code, std::errc::invalid_argument));
  }
}

TEST_P(Timers, WithoutATaskAreIgnored) {
  const Timer timer = context().timer(0ns, Task{});
  turns(context());
  EXPECT_FALSE(timer.active());
}

TEST_P(Timers, OwnWhatTheyNeed) {
  int got = 0;
  Context context{GetParam().make()};
  const Timer timer = context.timer(0ns, [&got, owned = std::make_unique<int>(5)] { got = *owned; });
  EXPECT_TRUE(run_until(context, [&] { return got == 5; }));
}

TEST_P(Timers, SetEarlierWhileTheLoopWaitsForALaterOne) {
  Recorder recorder;
  bool early = false;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Timer timer = context.timer(1h, [] { FAIL(); });
  recorder.when_data = [&](Connection&, std::string_view) {
    timer = context.timer(1ms, [&] {
      early = true;
      context.stop();
    });
  };
  const Timer guard = context.timer(10s, [&] { context.stop(); });
  line.peer.send("x");
  context.run();
  EXPECT_TRUE(early);
}

TEST_P(Timers, AreInertBeyondTheirContext) {
  Timer timer;
  Timer repeated;
  {
    Context context{GetParam().make()};
    timer = context.timer(1ms, [] { FAIL(); });
    repeated = context.every(1ms, [] { FAIL(); });
  }
  EXPECT_FALSE(timer.active());
  EXPECT_FALSE(repeated.active());
  timer.cancel();
  const Timer moved = std::move(timer);
  EXPECT_FALSE(moved.active());
}

}  // namespace
}  // namespace onloop::test
