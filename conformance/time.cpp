// The one deadline of the ops. RawGuest itself fails the test if on_deadline comes early or is not wanted.

#include <cstdint>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {

TEST_P(OpsWithDeadline, C37_the_deadline_fires_once) {
  RawGuest guest{provider()};
  guest.deadline_in(5ms);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines > 0; }));
  guest.expect_silence();
  guest.expect_sleep();
  EXPECT_EQ(guest.deadlines, 1);
}

// Some loops count from the time at which their batch began. Without correction they would be early here, by the time
// that the callback took.
TEST_P(OpsWithDeadline, C38_never_early_when_set_at_the_end_of_a_slow_callback) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) {
    take(pair.near.get());
    for (const std::uint64_t end = monotonic_ns() + 30'000'000; monotonic_ns() < end;) {
    }
    guest.deadline_in(10ms);
  });
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
}

TEST_P(OpsWithDeadline, C42_a_deadline_set_for_now_in_its_callback_comes_on_a_later_turn) {
  RawGuest guest{provider()};
  bool inside = false;
  guest.on_deadline = [&] {
    EXPECT_FALSE(inside);
    inside = true;
    if (guest.deadlines < 3) guest.deadline_in(0ns);
    inside = false;
  };
  guest.deadline_in(0ns);
  for (int turns = 0; guest.deadlines < 3 && turns < 1000; ++turns) {
    const int before = guest.deadlines;
    guest.turn(1s);
    EXPECT_LE(guest.deadlines, before + 1) << "twice in one iteration";
  }
  EXPECT_EQ(guest.deadlines, 3);
}

TEST_P(OpsWithDeadline, C43_a_deadline_that_re_arms_itself_for_now_does_not_starve_io) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.on_deadline = [&] { guest.deadline_in(0ns); };
  guest.deadline_in(0ns);
  for (int turns = 0; turns < 100; ++turns) guest.turn();
  EXPECT_GT(guest.deadlines, 0);
  EXPECT_GE(watch.calls, 10) << "of 100 turns";
}

TEST_P(OpsWithDeadline, C44_cancel) {
  RawGuest guest{provider()};
  guest.deadline_in(10ms);
  guest.deadline_at(ONLOOP_NO_DEADLINE);
  guest.expect_sleep();
  guest.deadline_in(-1ms);  // the deadline is due, but it is cancelled before the loop looks
  guest.deadline_at(ONLOOP_NO_DEADLINE);
  guest.expect_silence();
  EXPECT_EQ(guest.deadlines, 0);
}

TEST_P(OpsWithDeadline, C45_cancel_then_set) {
  RawGuest guest{provider()};
  guest.deadline_in(1h);
  guest.deadline_at(ONLOOP_NO_DEADLINE);
  guest.deadline_in(5ms);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
  guest.expect_silence();
}

TEST_P(OpsWithDeadline, C47_cancel_in_its_own_callback) {
  RawGuest guest{provider()};
  guest.on_deadline = [&] {
    guest.deadline_in(0ns);
    guest.deadline_at(ONLOOP_NO_DEADLINE);
  };
  guest.deadline_in(0ns);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
  guest.expect_silence();
}

TEST_P(OpsWithDeadline, C48_re_armed_in_the_callback) {
  RawGuest guest{provider()};
  guest.on_deadline = [&] {
    if (guest.deadlines < 4) guest.deadline_in(2ms);
  };
  guest.deadline_in(2ms);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 4; }));
  guest.expect_silence();
}

TEST_P(OpsWithDeadline, C49_moved_earlier) {
  RawGuest guest{provider()};
  guest.deadline_in(1h);
  guest.turn();
  guest.deadline_in(5ms);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
}

TEST_P(OpsWithDeadline, C49_moved_earlier_by_a_callback_between_two_waits) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) {
    take(pair.near.get());
    guest.deadline_in(1ms);
  });
  guest.deadline_in(1h);
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
}

TEST_P(OpsWithDeadline, C50_moved_later_does_not_fire_early) {
  RawGuest guest{provider()};
  guest.deadline_in(5ms);
  guest.turn();
  if (guest.deadlines == 0) {
    guest.deadline_in(40ms);
    EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
  }
  guest.expect_silence();
  EXPECT_EQ(guest.deadlines, 1);
}

TEST_P(OpsWithDeadline, C51_a_very_far_deadline_saturates) {
  RawGuest guest{provider()};
  const std::uint64_t now = monotonic_ns();
  const std::uint64_t centuries = std::uint64_t{3'000'000} * 3600 * 1'000'000'000;
  const std::uint64_t beyond_32_bits_of_milliseconds = (std::uint64_t{1} << 32) * 1'000'000;
  for (const std::uint64_t at :
       std::initializer_list<std::uint64_t>{ONLOOP_NO_DEADLINE - 1, INT64_MAX, std::uint64_t{INT64_MAX} + 1,
                                            now + centuries, now + beyond_32_bits_of_milliseconds}) {
    guest.deadline_at(at);
    guest.expect_silence(3);
    guest.expect_sleep(10ms);
  }
}

TEST_P(OpsWithDeadline, C52_less_than_a_millisecond_is_not_rounded_down) {
  RawGuest guest{provider()};
  for (int round = 1; round <= 20; ++round) {
    guest.deadline_in(std::chrono::microseconds{150 * round});
    EXPECT_TRUE(guest.until([&] { return guest.deadlines == round; }));
  }
}

TEST_P(OpsWithDeadline, C52_never_early_on_a_loop_that_is_busy_meanwhile) {
  RawGuest guest{provider()};
  for (int round = 1; round <= 5; ++round) {
    guest.deadline_in(3ms);
    const std::uint64_t limit = monotonic_ns() + 10'000'000'000;
    while (guest.deadlines < round && monotonic_ns() < limit) guest.turn(0ns);
    EXPECT_EQ(guest.deadlines, round);
  }
}

TEST_P(OpsWithDeadline, C52_less_than_a_millisecond_does_not_spin) {
  RawGuest guest{provider()};
  guest.deadline_in(20ms + 1us);
  int turns = 0;
  while (guest.deadlines == 0 && turns < 1000) {
    guest.turn(1s);
    ++turns;
  }
  EXPECT_LE(turns, 8) << "the rest of a millisecond was spun away";
}

TEST_P(OpsWithDeadline, C53_detached_while_a_deadline_is_pending) {
  {
    RawGuest guest{provider()};
    guest.deadline_in(1ms);
  }
  RawGuest next{provider()};  // on a foreign loop, a remaining deadline of the first guest would be due now
  next.expect_sleep();
}

// A deadline in the past fires after the host has polled. A descriptor that is already ready is therefore reported in
// the same iteration or before. The deadline fires once.
TEST_P(OpsWithDeadline, C87d_a_past_deadline_fires_on_a_later_iteration_after_io_once) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  int deadlines_when_set = -1;
  bool armed = false;
  guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) {
    take(pair.near.get());
    guest.deadline_in(-5ms);
    deadlines_when_set = guest.deadlines;
    armed = true;
  });
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return armed; }));
  EXPECT_EQ(guest.deadlines, deadlines_when_set) << "it fired in the iteration in which it was set";
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
  guest.expect_silence();
  EXPECT_EQ(guest.deadlines, 1);
}

}  // namespace onloop::conformance
