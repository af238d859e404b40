// One direction ends before the other.
#include "drive.hpp"

namespace onloop::test {
namespace {

class HalfClose : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(HalfClose);

void keep_open(Connection&) {}

TEST_P(HalfClose, OnEndComesOnceAfterAllDataAndWritingStillWorks) {
  Recorder recorder;
  bool all_before_end = false;
  const std::string sent = pattern(100'000);
  recorder.when_end = [&](Connection& connection) {
    all_before_end = recorder.received == sent;
    connection.write("answer");
  };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  ASSERT_EQ(peer.send(sent), sent.size());
  peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "answer"; }));
  turns(context);
  EXPECT_TRUE(all_before_end);
  EXPECT_EQ(recorder.ends, 1);
  EXPECT_EQ(recorder.closes, 0);
  EXPECT_EQ(connection.write(" and more"), Flow::go);
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "answer and more"; }));
}

TEST_P(HalfClose, ByDefaultThePeersEndClosesInOrder) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  peer.send("bye");
  peer.finish();
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), recorder_.closes == 1 && peer.over(); }));
  EXPECT_EQ(recorder_.received, "bye");
  EXPECT_EQ(recorder_.ends, 1);
  EXPECT_FALSE(recorder_.errors[0]) << recorder_.errors[0].message();
  EXPECT_TRUE(peer.ended()) << "a FIN, not a reset";
}

TEST_P(HalfClose, ShutdownWriteFlushesThenEndsAndReadingGoesOn) {
  Recorder recorder;
  recorder.when_end = keep_open;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  const std::string all = pattern(8'000'000);
  connection.write(all);
  ASSERT_GT(connection.queued_bytes(), 0u);
  connection.shutdown_write();
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), peer.over(); }));
  EXPECT_TRUE(peer.received() == all);
  EXPECT_TRUE(peer.ended());
  peer.send("still read");
  ASSERT_TRUE(run_until(context, [&] { return recorder.received == "still read"; }));
  EXPECT_EQ(recorder.closes, 0);
}

TEST_P(HalfClose, AfterShutdownWriteThePeersEndClosesInOrder) {
  Recorder recorder;
  recorder.when_end = keep_open;
  Context context{GetParam().make()};
  const Line line = join(context, recorder);
  line.connection.shutdown_write();
  turns(context);
  EXPECT_EQ(recorder.closes, 0) << "the peer has not ended";
  line.peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_FALSE(recorder.errors[0]) << recorder.errors[0].message();
}

TEST_P(HalfClose, AfterThePeersEndShutdownWriteFlushesAndClosesInOrder) {
  Recorder recorder;
  const std::string answer = pattern(8'000'000);
  recorder.when_end = [&](Connection& connection) {
    connection.write(answer);
    connection.shutdown_write();
  };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Peer& peer = line.peer;
  peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), recorder.closes == 1 && peer.over(); }));
  EXPECT_TRUE(peer.received() == answer);
  EXPECT_TRUE(peer.ended());
  EXPECT_FALSE(recorder.errors[0]) << recorder.errors[0].message();
}

TEST_P(HalfClose, ShutdownWriteTwiceIsAsOnce) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  connection.write("text");
  connection.shutdown_write();
  connection.shutdown_write();
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.ended(); }));
  connection.shutdown_write();
  peer.send("still read");
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.received == "still read"; }));
  EXPECT_EQ(peer.received(), "text");
}

TEST_P(HalfClose, AnEndedPeerCostsNoFurtherCalls) {
  Recorder recorder;
  recorder.when_end = keep_open;
  Context context{GetParam().make()};
  const Line line = join(context, recorder);
  line.peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return recorder.ends == 1; }));
  const int before = recorder.calls;
  turns(context, 50);
  EXPECT_EQ(recorder.calls, before);
  if (GetParam().has_fd) {
    EXPECT_FALSE(readable(context.pollable_fd())) << "the end that was reported spins";
  }
}

TEST_P(HalfClose, AResetAfterThePeersEndIsReported) {
  Recorder recorder;
  recorder.when_end = keep_open;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return recorder.ends == 1; }));
  peer.reset();
  connection.write("one");
  connection.write("two");
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_TRUE(recorder.errors[0]);
}

}  // namespace
}  // namespace onloop::test
