// Calls of the application during a takeover: calls on the objects that are being handed over, other takeovers, and
// moves to another loop.
#include <fcntl.h>
#include <sys/socket.h>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverCalls : public TakeoverTest {
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
ONLOOP_ON_LOOPS(TakeoverCalls, loops_with_dispatch());

TEST_P(TakeoverCalls, WhatIsFrozenIsNotServed) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  Line line = join_old();
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  line.peer.send("waits");
  Peer client = Peer::connect_to(listener.address());
  both_turn();
  EXPECT_EQ(old_protocol_->datas, 0);
  EXPECT_EQ(old_protocol_->opens, 1);
  EXPECT_EQ(line.connection.write("refused"), Flow::closed);
  EXPECT_EQ(line.connection.queued_bytes(), 0u);
  channel.close();
  ASSERT_TRUE(exporting_ends());
  EXPECT_TRUE(until([&] { return line.peer.read(), line.peer.received() == "waits"; }));
  EXPECT_TRUE(echoes(client, "waited"));
}

TEST_P(TakeoverCalls, AListenerThatIsClosedOnItsWayEndsTheTakeover) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  Line line = join_old();
  start();
  ASSERT_TRUE(until([&] { return line.connection.write("") == Flow::closed; })) << "it is frozen";
  listener.close();
  ASSERT_TRUE(both_fail());
  EXPECT_NE(exported_[0].reason.find("a listener was closed"), std::string::npos) << exported_[0].reason;
  EXPECT_TRUE(echoes(line.peer, "served on"));
}

TEST_P(TakeoverCalls, WaitUntilTheTakeoverHasFailed) {
  Line shut = join_old(), closed = join_old(), aborted = join_old(), twice = join_old();
  int closes = 0;
  std::error_code reason;
  old_protocol_->when_close = [&](Connection& connection, std::error_code error) {
    ++closes;
    if (&connection == &aborted.connection) reason = error;
  };
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  shut.connection.shutdown_write();
  closed.connection.close();
  aborted.connection.abort(errc(std::errc::owner_dead));
  twice.connection.close();
  twice.connection.shutdown_write();  // this does less than the close() before it
  both_turn();
  for (Line* line : {&shut, &closed, &aborted, &twice}) {
    line->peer.read();
    EXPECT_FALSE(line->peer.over());
  }
  EXPECT_EQ(closes, 0);
  channel.close();
  ASSERT_TRUE(exporting_ends());
  ASSERT_TRUE(until([&] {
    bool over = true;
    for (Line* line : {&shut, &closed, &aborted, &twice}) {
      line->peer.read();
      over = over && line->peer.over();
    }
    return over && closes == 1;
  })) << closes
      << shut.peer.over() << closed.peer.over() << aborted.peer.over() << twice.peer.over();
  EXPECT_EQ(shut.peer.error(), 0);
  EXPECT_EQ(closed.peer.error(), 0);
  EXPECT_EQ(aborted.peer.error(), ECONNRESET);
  EXPECT_TRUE(is(reason, std::errc::owner_dead)) << reason.message();
  shut.peer.send("still heard");
  ASSERT_TRUE(until([&] { return old_protocol_->received == "still heard"; }));
  closed.peer.finish();
  twice.peer.finish();
  ASSERT_TRUE(until([&] { return closes == 3; }));
}

TEST_P(TakeoverCalls, AreDroppedOnceItHasSucceeded) {
  Line shut = join_old(), closed = join_old(), aborted = join_old();
  RawTakeoverChannel exporting = start_export();
  RawTakeoverChannel importing = start_import();
  ASSERT_TRUE(frozen(exporting));
  shut.connection.shutdown_write();
  closed.connection.close();
  aborted.connection.abort();
  ASSERT_TRUE(importing.send(exporting.bytes(), exporting.fds()));
  ASSERT_TRUE(until([&] { return importing.read(), importing.has(Frame::acknowledge); }));
  exporting.send(exporting.acknowledgement());
  ASSERT_TRUE(exporting_ends());
  ASSERT_FALSE(exported_[0].error) << exported_[0].reason;
  importing.send(frame(Frame::go));
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  for (Line* line : {&shut, &closed, &aborted}) EXPECT_TRUE(echoes(line->peer, "over there"));
  EXPECT_EQ(old_protocol_->closes, 0);
}

TEST_P(TakeoverCalls, ThoseInOnImportComeIntoForceWhenItIsServed) {
  Line line = join_old();
  Flow flow = Flow::go;
  next_protocol_->when_import = [&](Connection& connection) {
    flow = connection.write("too early");
    connection.close();
  };
  ASSERT_TRUE(take_over());
  EXPECT_EQ(flow, Flow::closed);
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
  EXPECT_EQ(line.peer.received(), "");
  EXPECT_EQ(line.peer.error(), 0);
  line.peer.finish();
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
}

TEST_P(TakeoverCalls, PausingAndResumingAListenerWaitsToo) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  listener.pause();
  listener.resume();
  Peer client = Peer::connect_to(listener.address());
  both_turn();
  EXPECT_EQ(old_protocol_->opens, 0);
  channel.close();
  ASSERT_TRUE(exporting_ends());
  EXPECT_TRUE(echoes(client, "at last"));
}

TEST_P(TakeoverCalls, ASecondTakeoverAtOnceIsRefused) {
  RawTakeoverChannel channel = start_export();
  const std::pair<Fd, Fd> pair = connected_pair(Kind::unix_pair);
  const Fd& here = pair.first;
  const auto done = [](const TakeoverResult&) { ADD_FAILURE() << "it was refused"; };
  EXPECT_TRUE(is(thrown_by([&] { return export_context(*old_, here.get(), old_options_, done), 0; }).code,
                 std::errc::connection_already_in_progress));
  EXPECT_TRUE(is(thrown_by([&] { return import_context(*old_, here.get(), next_options_, done), 0; }).code,
                 std::errc::connection_already_in_progress));
  EXPECT_GE(::fcntl(here.get(), F_GETFD), 0) << "the descriptor was taken";
  channel.close();
  ASSERT_TRUE(exporting_ends());
  exported_.clear();
  ASSERT_TRUE(take_over());
}

TEST_P(TakeoverCalls, EitherContextMovesToAnotherLoopMeanwhile) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  const Address address = listener.address();
  Line line = join_old();
  line.connection.write(pattern(6'000'000));
  start();
  for (int i = 0; i < 4; ++i) {
    old_->move_to(i % 2 == 0 ? another_loop() : GetParam().make());
    next_->move_to(i % 2 == 0 ? GetParam().make() : another_loop());
    both_turn(1);
  }
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.received().size() == 6'000'000; }));
  EXPECT_TRUE(line.peer.received() == pattern(6'000'000));
  EXPECT_TRUE(echoes(line.peer, "over there"));
  Peer client = Peer::connect_to(address);
  EXPECT_TRUE(echoes(client, "hello"));
}

TEST_P(TakeoverCalls, AContextThatMovedWhileItWasFrozenGoesOn) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  Line line = join_old();
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(frozen(channel));
  old_->move_to(another_loop());
  line.peer.send("waits");
  both_turn();
  EXPECT_EQ(old_protocol_->datas, 0);
  channel.close();
  ASSERT_TRUE(exporting_ends());
  EXPECT_TRUE(until([&] { return line.peer.read(), line.peer.received() == "waits"; }));
  Peer client = Peer::connect_to(listener.address());
  EXPECT_TRUE(echoes(client, "hello"));
}

}  // namespace
}  // namespace onloop::test
