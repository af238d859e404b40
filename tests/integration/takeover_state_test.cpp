// The state that comes along with a connection in a takeover. The old context is destroyed before the tests look at the
// new one, so that nothing can come from the old context.
#include <sys/socket.h>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverState : public TakeoverTest {
 protected:
  /// Makes the takeover and destroys the old context. Checks that its protocol got no callback.
  [[nodiscard]] ::testing::AssertionResult move_all() {
    const int closes = old_protocol_->closes;
    if (const auto moved = take_over(); !moved) return moved;
    if (exported_[0].left_behind != 0) return ::testing::AssertionFailure() << exported_[0].left_behind << " stay";
    old_.reset();
    if (old_protocol_->closes != closes) return ::testing::AssertionFailure() << "on_close came in the old context";
    return ::testing::AssertionSuccess();
  }
  /// Waits until the peer has this number of bytes, or the end of the stream.
  [[nodiscard]] ::testing::AssertionResult reads(Peer& peer, std::size_t size) {
    return until([&] {
      peer.read();
      return peer.received().size() >= size || peer.over();
    });
  }
};
ONLOOP_ON_LOOPS(TakeoverState, loops_with_dispatch());

constexpr std::size_t kMuch = 6'000'000;  // more than the kernel buffers if the peer does not read

TEST_P(TakeoverState, FullQueuesArriveByteForByte) {
  const std::string text = pattern(kMuch);
  std::vector<Line> lines;
  for (int i = 0; i < 2; ++i) lines.push_back(join_old());
  for (Line& line : lines) {
    ASSERT_EQ(line.connection.write(text), Flow::wait);
    ASSERT_GT(line.connection.queued_bytes(), 1'000'000u);
  }
  ASSERT_TRUE(move_all());
  EXPECT_EQ(imported_[0].connections, lines.size());
  for (Line& line : lines) {
    ASSERT_TRUE(reads(line.peer, text.size()));
    EXPECT_TRUE(line.peer.received() == text);
    EXPECT_FALSE(line.peer.over());
  }
  EXPECT_EQ(old_protocol_->drains, 0);
  EXPECT_EQ(next_protocol_->drains, 2);
  EXPECT_EQ(next_protocol_->opens, 0);
}

TEST_P(TakeoverState, PausedByTheUserStaysPaused) {
  Line line = join_old();
  line.connection.pause_reading();
  line.peer.send("waits");
  ASSERT_TRUE(move_all());
  both_turn();
  EXPECT_EQ(next_protocol_->datas, 0);
  next_protocol_->last->resume_reading();
  ASSERT_TRUE(until([&] { return next_protocol_->received == "waits"; }));
}

TEST_P(TakeoverState, AboveTheHighWaterMarkNothingIsReadUntilTheReaderHasDrainedIt) {
  Limits pausing;
  pausing.pause_reading_when_full = true;
  Line line = join_old(pausing);
  ASSERT_EQ(line.connection.write(pattern(kMuch)), Flow::wait);
  line.peer.send("waits");
  std::size_t queued_at_data = SIZE_MAX;
  next_protocol_->when_data = [&](Connection& connection, std::string_view) {
    queued_at_data = connection.queued_bytes();
  };
  ASSERT_TRUE(move_all());
  both_turn();
  EXPECT_EQ(next_protocol_->datas, 0);
  EXPECT_EQ(next_protocol_->last->write("!"), Flow::wait);
  ASSERT_TRUE(reads(line.peer, kMuch + 1));
  ASSERT_TRUE(until([&] { return next_protocol_->received == "waits" && next_protocol_->drains > 0; }));
  EXPECT_LE(queued_at_data, Limits{}.low_water);
  EXPECT_EQ(next_protocol_->drains, 1);
}

// The queue falls to the low-water mark in a callback of the same batch in which the takeover begins. on_drain is then
// due, but it has not come yet.
TEST_P(TakeoverState, AnOwedDrainComesOnce) {
  Line line = join_old();
  ASSERT_EQ(line.connection.write(pattern(kMuch)), Flow::wait);
  auto [prodded, prod] = connected_pair(Kind::unix_pair);
  Watch watch = old_->watch(prodded.get(), Interest::read, [&](Interest) {
    watch.cancel();
    for (int i = 0; i < 100 && line.connection.queued_bytes() > 0; ++i) {
      line.peer.read();
      const Cork sends_at_its_end = line.connection.cork();
    }
  });
  ASSERT_EQ(::send(prod.get(), "!", 1, MSG_NOSIGNAL), 1);
  start();
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  ASSERT_TRUE(until([&] { return old_protocol_->drains + next_protocol_->drains > 0; }));
  both_turn();
  EXPECT_EQ(old_protocol_->drains + next_protocol_->drains, 1);
  if (GetParam().name == "native") {
    EXPECT_EQ(next_protocol_->drains, 1) << "on this loop the one callback is known to come before the other";
  }
}

TEST_P(TakeoverState, ThePeersEndIsRememberedAndNotToldAgain) {
  Line line = join_old();
  old_protocol_->when_end = next_protocol_->when_end = stay_open;
  line.peer.finish();
  ASSERT_TRUE(until([&] { return old_protocol_->ends == 1; }));
  ASSERT_TRUE(move_all());
  both_turn();
  EXPECT_EQ(next_protocol_->ends, 0);
  next_protocol_->last->write("answer");
  next_protocol_->last->shutdown_write();
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.over() && next_protocol_->closes == 1; }));
  EXPECT_EQ(line.peer.received(), "answer");
  EXPECT_EQ(line.peer.error(), 0);
  EXPECT_FALSE(next_protocol_->errors[0]) << next_protocol_->errors[0].message();
}

TEST_P(TakeoverState, ThePeersEndThatWasNotReadYetComesInTheNextContext) {
  Line line = join_old();
  line.connection.pause_reading();
  line.peer.send("last words");
  line.peer.finish();
  next_protocol_->when_end = stay_open;
  ASSERT_TRUE(move_all());
  next_protocol_->last->resume_reading();
  ASSERT_TRUE(until([&] { return next_protocol_->ends == 1; }));
  EXPECT_EQ(next_protocol_->received, "last words");
}

TEST_P(TakeoverState, TheOwnEndIsRemembered) {
  Line line = join_old();
  line.connection.shutdown_write();
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.ended(); }));
  ASSERT_TRUE(move_all());
  EXPECT_EQ(next_protocol_->last->write("too late"), Flow::closed);
  line.peer.send("still heard");
  ASSERT_TRUE(until([&] { return next_protocol_->received == "still heard"; }));
  line.peer.finish();
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
  EXPECT_FALSE(next_protocol_->errors[0]) << next_protocol_->errors[0].message();
}

TEST_P(TakeoverState, AnEndBehindAQueueComesAfterIt) {
  Line line = join_old();
  line.connection.write(pattern(kMuch));
  line.connection.shutdown_write();
  ASSERT_TRUE(move_all());
  EXPECT_EQ(next_protocol_->last->write("too late"), Flow::closed);
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
  EXPECT_EQ(line.peer.error(), 0);
  EXPECT_TRUE(line.peer.received() == pattern(kMuch));
  EXPECT_EQ(next_protocol_->closes, 0);
  line.peer.send("still heard");
  ASSERT_TRUE(until([&] { return next_protocol_->received == "still heard"; }));
}

TEST_P(TakeoverState, ACloseInProgressLosesNothing) {
  Line line = join_old();
  line.connection.write(pattern(kMuch));
  line.peer.send("unread input, for which a plain close(2) would send a reset");
  line.connection.close();
  ASSERT_TRUE(move_all());
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
  EXPECT_EQ(line.peer.error(), 0);
  EXPECT_TRUE(line.peer.received() == pattern(kMuch));
  EXPECT_EQ(next_protocol_->closes, 0) << "the peer's end is waited for";
  line.peer.finish();
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
  EXPECT_FALSE(next_protocol_->errors[0]) << next_protocol_->errors[0].message();
  EXPECT_EQ(next_protocol_->datas, 0);
}

class TakeoverClock : public TakeoverState {
 protected:
  // How much earlier the first connection begins to count. The time in which a takeover freezes a connection does not
  // count, so it must be shorter than this, on a busy machine, too.
  static constexpr auto kLead = 100ms;
};
ONLOOP_ON_LOOPS(TakeoverClock, loops_with_fd());

// Another connection begins to count shortly before the takeover. If the takeover renewed the time-out, it would expire
// after the time-out of that connection.
TEST_P(TakeoverClock, WhatIsLeftOfAnIdleTimeoutIsNeitherRenewedNorCutShort) {
  Limits limits;
  limits.idle_timeout = 200ms;
  const auto begin = Clock::now();
  Line line = join_old(limits);
  const auto later = Clock::now() + kLead;
  ASSERT_TRUE(until([&] { return Clock::now() > later; }));
  Traveller control;
  Line fresh = join(*next_, control, limits);
  ASSERT_TRUE(move_all());
  bool first = false;
  next_protocol_->when_close = [&](Connection&, std::error_code) {
    first = control.closes == 0;
    EXPECT_GE(Clock::now() - begin, 200ms);
  };
  ASSERT_TRUE(until([&] { return next_protocol_->closes > 0 && control.closes > 0; }));
  EXPECT_TRUE(first);
  EXPECT_TRUE(is(next_protocol_->errors[0], std::errc::timed_out)) << next_protocol_->errors[0].message();
}

TEST_P(TakeoverClock, WhatIsLeftOfTheLingerTimeIsNeitherRenewedNorCutShort) {
  Limits limits;
  limits.linger = 200ms;
  Line line = join_old(limits);
  const auto begin = Clock::now();
  line.connection.close();
  const auto later = Clock::now() + kLead;
  ASSERT_TRUE(until([&] { return Clock::now() > later; }));
  Traveller control;
  Line fresh = join(*next_, control, limits);
  ASSERT_TRUE(until([&] { return control.opens == 1; }));
  fresh.connection.close();
  ASSERT_TRUE(move_all());
  bool first = false;
  next_protocol_->when_close = [&](Connection&, std::error_code) {
    first = control.closes == 0;
    EXPECT_GE(Clock::now() - begin, 200ms);
  };
  ASSERT_TRUE(until([&] { return next_protocol_->closes > 0 && control.closes > 0; }));
  EXPECT_TRUE(first);
  EXPECT_FALSE(next_protocol_->errors[0]) << next_protocol_->errors[0].message();
}

// A takeover that failed took nothing off it either.
TEST_P(TakeoverClock, AnIdleTimeoutGoesOnAfterAFailure) {
  Limits limits;
  limits.idle_timeout = 200ms;
  const auto begin = Clock::now();
  Line line = join_old(limits);
  const auto later = Clock::now() + kLead;
  ASSERT_TRUE(until([&] { return Clock::now() > later; }));
  Traveller control;
  Line fresh = join(*old_, control, limits);
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
  channel.close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  bool first = false;
  old_protocol_->when_close = [&](Connection&, std::error_code) {
    first = control.closes == 0;
    EXPECT_GE(Clock::now() - begin, 200ms);
  };
  ASSERT_TRUE(until([&] { return old_protocol_->closes > 0 && control.closes > 0; }));
  EXPECT_TRUE(first);
}

// This time-out once counted from the last byte in the old context.
TEST_P(TakeoverClock, AnIdleTimeoutSetInOnImportCountsFromThen) {
  Line line = join_old();
  line.connection.set_idle_timeout(1h);
  const auto later = Clock::now() + 20ms;
  ASSERT_TRUE(until([&] { return Clock::now() > later; }));
  auto set = Clock::now();
  next_protocol_->when_import = [&](Connection& connection) {
    set = Clock::now();
    connection.set_idle_timeout(30ms);
  };
  ASSERT_TRUE(move_all());
  ASSERT_TRUE(until([&] { return next_protocol_->closes > 0; }));
  EXPECT_GE(Clock::now() - set, 30ms);
}

TEST_P(TakeoverState, LimitsComeAlong) {
  Limits limits;
  limits.low_water = 2'000;
  limits.high_water = 10'000;
  limits.max_queued = 3'000'000;
  Line line = join_old(limits, Kind::unix_pair);
  ASSERT_TRUE(move_all());
  Connection& taken = *next_protocol_->last.get();
  std::size_t queued = 0;
  Flow flow = Flow::go;
  while (flow == Flow::go) {
    queued = taken.queued_bytes();
    flow = taken.write(pattern(1'000));
  }
  EXPECT_EQ(flow, Flow::wait);
  EXPECT_LE(queued, limits.high_water);
  EXPECT_GT(taken.queued_bytes(), limits.high_water);
  EXPECT_LE(taken.queued_bytes(), limits.high_water + 1'000);
  EXPECT_EQ(taken.write(pattern(limits.max_queued)), Flow::closed);
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
  EXPECT_TRUE(is(next_protocol_->errors[0], std::errc::no_buffer_space));
}

TEST_P(TakeoverState, TheOldConnectionIsGoneWithItsState) {
  struct Counted {
    explicit Counted(int& count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    int& count_;
  };
  int states = 0;
  Line line = join_old();
  line.connection.emplace_state<Counted>(states);
  const Ref ref = line.connection.ref();
  ASSERT_TRUE(take_over());
  EXPECT_EQ(ref.get(), nullptr);
  EXPECT_EQ(states, 0);
  EXPECT_EQ(old_->statistics().connections, 0u);
  EXPECT_EQ(next_->statistics().connections, 1u);
}

}  // namespace
}  // namespace onloop::test
