#include <fcntl.h>

#include <array>
#include <cstdint>
#include <vector>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {

TEST_P(Ops, C18_remove_self) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE);
  watch.on_ready = [&](std::uint32_t) { guest.remove(watch); };
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  guest.expect_silence();
  EXPECT_EQ(watch.calls, 1);
}

TEST_P(Ops, C19_remove_another_that_is_ready_in_this_batch) {
  std::vector<Pair> pairs;
  RawGuest guest{provider()};
  std::vector<RawGuest::Watch*> watches;
  for (int i = 0; i < 8; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(put(pairs.back().far.get()));
    watches.push_back(&guest.add(pairs.back().near.get(), ONLOOP_READ));
  }
  // The watch that is called first removes all the others. RawGuest fails at any call for a removed watch.
  for (RawGuest::Watch* watch : watches) {
    watch->on_ready = [&, watch](std::uint32_t) {
      take(watch->fd);
      for (RawGuest::Watch* other : watches) {
        if (other != watch && other->handle) guest.remove(*other);
      }
    };
  }
  EXPECT_TRUE(guest.until([&] { return guest.calls > 0; }));
  guest.expect_silence();
  EXPECT_EQ(guest.calls, 1);
}

TEST_P(Ops, C20_each_removes_the_other_whichever_comes_first) {
  for (int round = 0; round < 8; ++round) {
    const Pair one = socket_pair();
    const Pair two = socket_pair();
    ASSERT_TRUE(put(one.far.get()));
    ASSERT_TRUE(put(two.far.get()));
    RawGuest guest{provider()};
    auto& first = guest.add(one.near.get(), ONLOOP_READ);
    auto& second = guest.add(two.near.get(), ONLOOP_READ);
    first.on_ready = [&](std::uint32_t) {
      take(one.near.get());
      if (second.handle) guest.remove(second);
    };
    second.on_ready = [&](std::uint32_t) {
      take(two.near.get());
      if (first.handle) guest.remove(first);
    };
    EXPECT_TRUE(guest.until([&] { return guest.calls > 0; }));
    guest.expect_silence();
    EXPECT_EQ(first.calls + second.calls, 1);
  }
}

TEST_P(Ops, C21_change_own_interest) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  std::vector<std::uint32_t> seen;
  watch.on_ready = [&](std::uint32_t readiness) {
    seen.push_back(readiness);
    guest.set(watch, seen.size() == 1 ? ONLOOP_WRITE : ONLOOP_NONE);
  };
  EXPECT_TRUE(guest.until([&] { return seen.size() >= 2; }));
  guest.expect_silence();
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{ONLOOP_READ, ONLOOP_WRITE}));
}

TEST_P(Ops, C22_a_watch_added_in_a_callback_fires_on_a_later_turn) {
  const Pair one = socket_pair();
  const Pair two = socket_pair();
  ASSERT_TRUE(put(one.far.get()));
  ASSERT_TRUE(put(two.far.get()));
  bool inside = false;
  RawGuest::Watch* added = nullptr;
  RawGuest guest{provider()};
  guest.add(one.near.get(), ONLOOP_READ, [&](std::uint32_t) {
    inside = true;
    take(one.near.get());
    added = &guest.add(two.near.get(), ONLOOP_READ, [&](std::uint32_t) { EXPECT_FALSE(inside); });
    inside = false;
  });
  EXPECT_TRUE(guest.until([&] { return added != nullptr; }));
  EXPECT_EQ(added->calls, 0) << "it came in the batch that was fetched before it was added";
  EXPECT_TRUE(guest.until([&] { return added->calls > 0; }));
}

TEST_P(Ops, C23_remove_and_re_add_the_same_descriptor) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  auto& old = guest.add(pair.near.get(), ONLOOP_READ);
  RawGuest::Watch* renewed = nullptr;
  old.on_ready = [&](std::uint32_t) {
    guest.remove(old);
    renewed = &guest.add(pair.near.get(), ONLOOP_READ);
  };
  EXPECT_TRUE(guest.until([&] { return renewed && renewed->calls > 0; }));
  EXPECT_EQ(old.calls, 1);
}

// If a descriptor is closed and opened again within a batch, the new one has the old number but none of the old events.
TEST_P(Ops, C24_a_reused_number_gets_no_stale_event) {
  std::array<Pair, 2> pairs{socket_pair(), socket_pair()};
  Pair fresh = socket_pair();
  RawGuest guest{provider()};
  std::array<RawGuest::Watch*, 2> watches{};
  RawGuest::Watch* reused = nullptr;
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(put(pairs[i].far.get()));
    watches[i] = &guest.add(pairs[i].near.get(), ONLOOP_READ);
  }
  for (std::size_t i = 0; i < 2; ++i) {
    watches[i]->on_ready = [&, i](std::uint32_t) {
      take(pairs[i].near.get());
      if (reused) return;
      const std::size_t other = 1 - i;
      const int number = pairs[other].near.get();
      guest.remove(*watches[other]);
      pairs[other].near.reset();
      ASSERT_EQ(::fcntl(fresh.near.get(), F_DUPFD_CLOEXEC, number), number);
      pairs[other].near = Descriptor{number};
      reused = &guest.add(number, ONLOOP_READ);
    };
  }
  EXPECT_TRUE(guest.until([&] { return reused != nullptr; }));
  guest.expect_silence();
  EXPECT_EQ(reused->calls, 0) << "the event of the former descriptor came to the new one";
  ASSERT_TRUE(put(fresh.far.get()));
  EXPECT_TRUE(guest.until([&] { return reused->calls > 0; }));
}

TEST_P(Ops, C25_a_callback_for_one_direction_cancels_the_other) {
  for (const std::uint32_t kept : {ONLOOP_READ, ONLOOP_WRITE}) {
    const Pair pair = socket_pair();
    ASSERT_TRUE(put(pair.far.get()));
    RawGuest guest{provider()};
    auto& watch = guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE);
    watch.on_ready = [&](std::uint32_t) { guest.set(watch, kept); };
    EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
    watch.on_ready = {};
    watch.readiness = 0;
    EXPECT_TRUE(guest.until([&] { return watch.calls >= 4; }));
    EXPECT_EQ(watch.readiness, kept);
  }
}

// With a Context each direction is a call of its own. The first call may make the second unwanted.
TEST_P(OnContext, C25_a_read_callback_cancels_the_pending_write) {
  Context context{loop()};
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  bool was_read = false;
  Watch watch;
  watch = context.watch(pair.near.get(), Interest::both, [&](Interest direction) {
    if (direction == Interest::write) {
      EXPECT_FALSE(was_read) << "a direction that is wanted no more was announced";
      return;
    }
    was_read = true;
    watch.set(Interest::none);
    finish();
  });
  run(context);
  EXPECT_TRUE(was_read);
  turns(context);
}

TEST_P(OpsWithDeadline, C26_a_deadline_callback_removes_a_ready_watch) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  int after = -1;
  guest.on_deadline = [&] {
    guest.remove(watch);
    after = watch.calls;
  };
  guest.deadline_in(0ns);
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return guest.deadlines > 0; }));
  guest.expect_silence();
  EXPECT_EQ(watch.calls, after);
}

TEST_P(OpsWithDeadline, C27_an_io_callback_moves_the_due_deadline) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  bool moved = false;
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) {
    take(pair.near.get());
    if (guest.deadlines > 0) return;  // the deadline may come first in the batch
    guest.deadline_in(30ms);          // RawGuest fails if the deadline comes earlier
    moved = true;
  });
  guest.deadline_in(0ns);
  EXPECT_TRUE(guest.until([&] { return guest.deadlines == 1; }));
  guest.expect_silence();
  EXPECT_EQ(guest.deadlines, 1) << (moved ? "moved, and came twice" : "came twice");
}

TEST_P(Ops, C28_detach_inside_on_ready) {
  const Pair one = socket_pair();
  const Pair two = socket_pair();
  ASSERT_TRUE(put(one.far.get()));
  ASSERT_TRUE(put(two.far.get()));
  RawGuest guest{provider()};
  const auto leave = [&](std::uint32_t) { guest.detach(); };
  guest.add(one.near.get(), ONLOOP_READ, leave);
  guest.add(two.near.get(), ONLOOP_READ, leave);
  guest.deadline_in(1h);
  guest.turn(10s);  // the loop frees itself when its outermost frame returns
  EXPECT_FALSE(guest.attached());
  EXPECT_EQ(guest.calls, 1);
}

TEST_P(OpsWithDeadline, C28_detach_inside_on_deadline) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ);
  guest.on_deadline = [&] { guest.detach(); };
  guest.deadline_in(0ns);
  ASSERT_TRUE(guest.until([&] { return !guest.attached(); }));
  EXPECT_EQ(guest.deadlines, 1);
}

}  // namespace onloop::conformance
