// Connections that are on their way to another process: their clocks, their protocol, and their end. Also a context
// that is destroyed in the middle of a takeover.
#include <unistd.h>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverFrozen : public TakeoverTest {
 protected:
  void SetUp() override {
    TakeoverTest::SetUp();
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
  }
  /// Waits until the other side has received everything of the old context. It has not acknowledged.
  [[nodiscard]] ::testing::AssertionResult frozen(RawTakeoverChannel& channel) {
    return until([&] { return channel.read(), channel.has(Frame::end); });
  }
  [[nodiscard]] ::testing::AssertionResult exporting_ends() {
    return until([this] { return !exported_.empty(); });
  }
};
ONLOOP_ON_LOOPS(TakeoverFrozen, loops_with_dispatch());

TEST_P(TakeoverFrozen, ClocksStandStillUntilItHasFailed) {
  Limits limits;
  limits.idle_timeout = limits.linger = 100ms;
  Line idle = join_old(limits);
  Line closing = join_old(limits);
  closing.connection.close();
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  bool later = false;
  const Timer timer = old_->timer(300ms, [&] { later = true; });
  ASSERT_TRUE(until([&] { return later; }));
  idle.peer.send("in time");
  closing.peer.read();
  closing.peer.finish();
  channel.close();
  ASSERT_TRUE(exporting_ends());
  ASSERT_TRUE(until([&] { return old_protocol_->closes == 1; }));
  EXPECT_FALSE(old_protocol_->errors[0]) << "the closing one, in order: " << old_protocol_->errors[0].message();
  ASSERT_TRUE(until([&] { return idle.peer.read(), idle.peer.received() == "in time"; }));
  ASSERT_TRUE(until([&] { return old_protocol_->closes == 2; })) << "and then it goes on";
  EXPECT_TRUE(is(old_protocol_->errors[1], std::errc::timed_out));
}

TEST_P(TakeoverFrozen, WithAnotherProtocolByThenItStaysIfThatHasNoName) {
  Recorder unnamed;
  unnamed.when_data = echo_back;
  Line one = join_old();
  Line two = join_old();
  int exported = 0;
  old_protocol_->when_export = [&](Connection& connection, std::vector<std::byte>&) {
    ++exported;
    Connection& other = &connection == &one.connection ? two.connection : one.connection;
    other.set_protocol(unnamed);
    return true;
  };
  ASSERT_TRUE(take_over());
  EXPECT_EQ(exported, 1);
  EXPECT_EQ(exported_[0].connections, 1u);
  EXPECT_EQ(exported_[0].left_behind, 1u);
  EXPECT_EQ(imported_[0].connections, 1u);
  EXPECT_TRUE(echoes(one.peer, "here or there"));
  EXPECT_TRUE(echoes(two.peer, "there or here"));
  EXPECT_EQ(unnamed.datas, 1);
}

TEST_P(TakeoverFrozen, WhateverACallbackThrowsItStays) {
  Line line = join_old();
  old_protocol_->when_export = [](Connection&, std::vector<std::byte>&) -> bool { throw 42; };
  start();
  ASSERT_TRUE(both_fail());
  EXPECT_TRUE(echoes(line.peer, "served on"));
}

TEST_P(TakeoverFrozen, ARefusedWriteIsFollowedByOnDrainWhenItHasFailed) {
  Line refused = join_old();
  Line quiet = join_old();
  Connection* drained = nullptr;
  old_protocol_->when_drain = [&](Connection& connection) { drained = &connection; };
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  EXPECT_EQ(refused.connection.write("refused"), Flow::closed);
  channel.close();
  ASSERT_TRUE(exporting_ends());
  ASSERT_TRUE(until([&] { return old_protocol_->drains == 1; }));
  EXPECT_EQ(drained, &refused.connection);
  EXPECT_EQ(refused.connection.write("taken"), Flow::go);
  ASSERT_TRUE(until([&] { return refused.peer.read(), refused.peer.received() == "taken"; }));
}

TEST_P(TakeoverFrozen, AnEndAfterItHasFailedIsSeenThoughTheOtherSideStillHasACopy) {
  Line line = join_old();
  old_options_.timeout = 500ms;  // a busy machine must get so far before it
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  ASSERT_TRUE(exporting_ends());
  ASSERT_EQ(channel.fds().size(), 1u);
  line.connection.abort();
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
}

TEST_P(TakeoverFrozen, AContextThatIsDestroyedBeforeTheAcknowledgementSaysSo) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("socket");
  old_->listen("unix:" + file, *old_protocol_);
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  old_.reset();
  channel.read();
  EXPECT_TRUE(channel.has(Frame::give_up));
  EXPECT_FALSE(channel.has(Frame::go));
  EXPECT_NE(::access(file.c_str(), F_OK), 0) << "nobody listens there any more";
}

TEST_P(TakeoverFrozen, AContextThatIsDestroyedWithTheAcknowledgementUnreadHandsOver) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("socket");
  old_->listen("unix:" + file, *old_protocol_);
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  ASSERT_TRUE(channel.send(channel.acknowledgement()));
  old_.reset();
  channel.read();
  EXPECT_TRUE(channel.has(Frame::go));
  EXPECT_EQ(::access(file.c_str(), F_OK), 0) << "it is the other side's";
}

TEST_P(TakeoverFrozen, TheFileOfARelativePathGoesOverForGood) {
  const TemporaryDirectory directory;
  std::array<char, 4096> before{};
  ASSERT_TRUE(::getcwd(before.data(), before.size()));
  ASSERT_EQ(::chdir(directory.path().c_str()), 0);
  old_->listen("unix:socket", *old_protocol_);
  ASSERT_EQ(::chdir(before.data()), 0);
  ASSERT_TRUE(take_over());
  EXPECT_EQ(::access(directory.file("socket").c_str(), F_OK), 0);
  imported_[0].taken[0].listener->close();
  EXPECT_NE(::access(directory.file("socket").c_str(), F_OK), 0);
}

TEST_P(TakeoverFrozen, AForkedChildTakesNoPart) {
  Line line = join_old();
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  EXPECT_TRUE(in_child([&] {
    old_->after_fork(GetParam().make());
    turns(*old_);
    EXPECT_TRUE(exported_.empty());
    EXPECT_EQ(line.connection.write("the child's"), Flow::go) << "it is no longer frozen there";
  }));
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.received() == "the child's"; }));
  channel.read();
  EXPECT_FALSE(channel.has(Frame::give_up) || channel.ended()) << "the child spoke";
  ASSERT_TRUE(channel.send(channel.acknowledgement()));
  ASSERT_TRUE(exporting_ends());
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
}

}  // namespace
}  // namespace onloop::test
