// The timers of a Context, which share the one deadline.

#include <memory>
#include <vector>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

using Clock = std::chrono::steady_clock;

void spin_for(std::chrono::nanoseconds time) {
  for (const auto end = Clock::now() + time; Clock::now() < end;) {
  }
}

}  // namespace

TEST_P(OnContext, C37_a_timer_fires_once) {
  Context context{loop()};
  int fired = 0;
  const Timer timer = context.timer(2ms, [&] {
    ++fired;
    finish();
  });
  EXPECT_TRUE(timer.active());
  run(context);
  EXPECT_FALSE(timer.active());
  turns(context);
  EXPECT_EQ(fired, 1);
}

TEST_P(OnContext, C38_a_timer_is_never_early_even_if_set_at_the_end_of_a_slow_callback) {
  Context context{loop()};
  Timer second;
  Clock::time_point earliest;
  const Timer first = context.timer(1ms, [&] {
    spin_for(20ms);
    earliest = Clock::now() + 10ms;
    second = context.timer(10ms, [&] {
      EXPECT_GE(Clock::now(), earliest);
      finish();
    });
  });
  run(context);
  EXPECT_NE(earliest, Clock::time_point{});
}

TEST_P(OnContext, C39_timers_fire_in_the_order_of_their_deadlines) {
  Context context{loop()};
  std::vector<int> order;
  std::vector<Timer> timers;
  const auto set = [&] {
    timers.clear();
    const auto start = Clock::now();
    for (const int delay : {7, 3, 9, 1, 5}) {
      timers.push_back(context.timer(std::chrono::milliseconds{10 * delay}, [&, delay] {
        order.push_back(delay);
        if (order.size() == 5) finish();
      }));
    }
    return Clock::now() - start;
  };
  // Each timer counts from its own call. On a machine that stalls in between, another order is right. So the test then
  // sets them again.
  for (int i = 0; i < 100 && set() > 10ms; ++i) {
  }
  run(context);
  EXPECT_EQ(order, (std::vector<int>{1, 3, 5, 7, 9}));
}

TEST_P(OnContext, C40_equal_deadlines_fire_in_the_order_of_setting) {
  Context context{loop()};
  std::vector<int> order;
  std::vector<Timer> timers;
  for (int i = 0; i < 20; ++i) {
    timers.push_back(context.timer(0ns, [&, i] {
      order.push_back(i);
      if (i == 19) finish();
    }));
  }
  run(context);
  ASSERT_EQ(order.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_P(OnContext, C41_past_deadlines_fire_in_order) {
  Context context{loop()};
  std::vector<int> order;
  std::vector<Timer> timers;
  for (const int delay : {3, 1, 2}) {  // 10 ms apart, which is more than setting a timer takes on a busy machine
    timers.push_back(context.timer(std::chrono::milliseconds{10 * delay}, [&, delay] { order.push_back(delay); }));
  }
  timers.push_back(context.timer(40ms, [&] { finish(); }));
  spin_for(50ms);
  run(context);
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST_P(OnContext, C42_a_zero_delay_comes_on_a_later_turn) {
  Context context{loop()};
  std::vector<std::string> order;
  Timer inner;
  const Timer outer = context.timer(0ns, [&] {
    inner = context.timer(0ns, [&] {
      order.push_back("timer");
      finish();
    });
    context.post([&] { order.push_back("task of that turn"); });
    order.push_back("set");
  });
  EXPECT_TRUE(order.empty());
  run(context);
  EXPECT_EQ(order, (std::vector<std::string>{"set", "task of that turn", "timer"}));
}

TEST_P(OnContext, C43_a_zero_timer_that_re_arms_itself_does_not_starve_io) {
  const Pair pair = socket_pair();
  Context context{loop()};
  Timer timer;
  int fired = 0;
  std::function<void()> again = [&] {
    ++fired;
    timer = context.timer(0ns, [&] { again(); });
  };
  again();
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (!take(pair.near.get()).empty()) finish();
  });
  ASSERT_TRUE(put(pair.far.get()));
  run(context);
  EXPECT_LT(fired, 1000);
}

TEST_P(OnContext, C44_a_cancelled_timer_does_not_fire) {
  Context context{loop()};
  Timer cancelled = context.timer(1ms, [] { ADD_FAILURE() << "cancelled, and fired"; });
  {
    const Timer dropped = context.timer(1ms, [] { ADD_FAILURE() << "destroyed, and fired"; });
  }
  Timer replaced = context.timer(1ms, [] { ADD_FAILURE() << "replaced, and fired"; });
  cancelled.cancel();
  EXPECT_FALSE(cancelled.active());
  replaced = context.timer(5ms, [&] { finish(); });
  run(context);
}

TEST_P(OnContext, C45_cancel_then_set) {
  Context context{loop()};
  Timer timer = context.timer(1h, [] {});
  timer.cancel();
  timer = context.timer(1ms, [&] { finish(); });
  run(context);
}

TEST_P(OnContext, C46_cancel_a_peer_that_is_due_in_this_turn) {
  Context context{loop()};
  int fired = 0;
  Timer one;
  Timer two;
  one = context.timer(0ns, [&] {
    ++fired;
    two.cancel();
  });
  two = context.timer(0ns, [&] {
    ++fired;
    one.cancel();
  });
  const Timer end = context.timer(3ms, [&] { finish(); });
  spin_for(1ms);
  run(context);
  EXPECT_EQ(fired, 1);
}

TEST_P(OnContext, C47_cancel_or_destroy_from_its_own_callback) {
  Context context{loop()};
  int fired = 0;
  auto destroyed = std::make_unique<Timer>();
  *destroyed = context.every(1ms, [&, held = std::make_shared<int>(7)] {
    destroyed.reset();
    fired += *held;  // the captures of the callback live until it returns
  });
  Timer cancelled;
  cancelled = context.every(1ms, [&, held = std::make_shared<int>(7)] {
    cancelled.cancel();
    fired += *held;
  });
  const Timer end = context.timer(6ms, [&] { finish(); });
  run(context);
  EXPECT_EQ(fired, 14);
}

TEST_P(OnContext, C48_re_armed_in_the_callback_and_periodic) {
  Context context{loop()};
  int rearmed = 0;
  int periods = 0;
  Timer timer;
  std::function<void()> again = [&] {
    if (++rearmed < 4) timer = context.timer(1ms, [&] { again(); });
  };
  timer = context.timer(1ms, [&] { again(); });
  const Timer every = context.every(1ms, [&] {
    ++periods;
    if (rearmed == 4 && periods >= 4) finish();
  });
  run(context);
  EXPECT_EQ(rearmed, 4);
}

TEST_P(OnContext, C49_an_earlier_timer_is_set_while_the_loop_sleeps) {
  Context context{loop()};
  Timer early;
  const Timer late = context.timer(1h, [] { ADD_FAILURE(); });
  const Remote remote = context.remote();
  const Pair pair = socket_pair();
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (take(pair.near.get()).empty()) return;
    early = context.timer(2ms, [&] { finish(); });
  });
  ASSERT_TRUE(put(pair.far.get()));
  run(context);
}

TEST_P(OnContext, C50_moved_later_does_not_fire_early) {
  Context context{loop()};
  const auto earliest = Clock::now() + 30ms;
  Timer moved;
  const Timer mover = context.timer(2ms, [&] {  // set first, so it is due first even if the machine stalls
    moved = context.timer(30ms, [&] {
      EXPECT_GE(Clock::now(), earliest);
      finish();
    });
  });
  moved = context.timer(5ms, [] { ADD_FAILURE() << "the old deadline"; });
  run(context);
}

TEST_P(OnContext, C51_a_very_long_timer_saturates) {
  Context context{loop()};
  const Timer longest = context.timer(std::chrono::nanoseconds::max(), [] { ADD_FAILURE() << "292 years are over"; });
  const Timer shortest = context.timer(std::chrono::nanoseconds::min(), [&] { finish(); });
  const Timer long_period = context.every(std::chrono::nanoseconds::max(), [] { ADD_FAILURE(); });
  run(context);
  turns(context);
  EXPECT_TRUE(longest.active());
}

TEST_P(OnContext, C52_less_than_a_millisecond_is_not_rounded_down) {
  Context context{loop()};
  for (int round = 0; round < 10; ++round) {
    const auto earliest = Clock::now() + 300us;
    const Timer timer = context.timer(300us, [&] {
      EXPECT_GE(Clock::now(), earliest);
      finish();
    });
    run(context);
  }
}

TEST_P(OnContext, C53_destroyed_while_pending) {
  Timer outlives;
  {
    Context context{loop()};
    outlives = context.timer(1ms, [] { ADD_FAILURE(); });
  }
  EXPECT_FALSE(outlives.active());
  outlives.cancel();
  host_turns();
}

TEST_P(OnContext, C54_a_timer_set_from_the_applications_own_callback_is_armed) {
  Context context{loop()};
  turns(context);  // now nothing of the guest is armed or posted
  Timer timer;
  provider().call_from_application([&] { timer = context.timer(3ms, [&] { finish(); }); });
  run(context);
  EXPECT_FALSE(timer.active());
}

}  // namespace onloop::conformance
