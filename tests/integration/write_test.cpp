// Writing: order, what the kernel refuses, gathering, the water marks, and writes that come too late.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <optional>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Write : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Write);

constexpr std::size_t kLarge = 8 * 1024 * 1024;  // more than the kernel buffers of both ends take

// Writes small pieces until write() does not return Flow::go. Returns the last result.
Flow fill(Connection& connection) {
  const std::string piece(1000, 'x');
  Flow flow = Flow::go;
  for (int i = 0; i < 100'000 && flow == Flow::go; ++i) flow = connection.write(piece);
  return flow;
}

unsigned data_segments_in(const Peer& peer) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(peer.fd(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_data_segs_in : 0;
}

TEST_P(Write, IsSentAtOnceWithoutATurn) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  EXPECT_EQ(connection.write("now"), Flow::go);
  EXPECT_EQ(connection.queued_bytes(), 0u);
  peer.read();
  EXPECT_EQ(peer.received(), "now");
}

TEST_P(Write, ToAnAdoptedSocketIsSentAtOnceBeforeOnOpenToo) {
  Line line = join(context(), recorder_);
  EXPECT_EQ(line.connection.write("now"), Flow::go);
  line.peer.read();
  EXPECT_EQ(line.peer.received(), "now");
}

TEST_P(Write, OfNothingSendsNothing) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  EXPECT_EQ(connection.write(""), Flow::go);
  turns(context());
  EXPECT_FALSE(peer.read());
}

TEST_P(Write, KeepsTheOrderOfPiecesOfAnySize) {
  for (const Kind kind : {Kind::tcp, Kind::unix_pair}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Limits limits;
    limits.high_water = kLarge;
    Line line = join(context, recorder, limits, kind);
    Peer& peer = line.peer;
    Connection& connection = line.connection;
    const std::string all = pattern(3'000'000);
    std::size_t at = 0;
    for (std::size_t size = 1; at < all.size(); size = size * 3 % 100'003 + 1) {
      EXPECT_EQ(connection.write(std::string_view(all).substr(at, size)), Flow::go);
      at += size;
    }
    ASSERT_TRUE(run_until(context, [&] { return peer.read(100'000), peer.received().size() >= all.size(); }));
    EXPECT_TRUE(peer.received() == all);
    EXPECT_EQ(connection.queued_bytes(), 0u);
  }
}

TEST_P(Write, QueuesWhatTheKernelRefusesAndSendsItAsThePeerReads) {
  Limits limits;
  limits.high_water = kLarge;
  Line line = join(context(), recorder_, limits);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  const std::string all = pattern(kLarge);
  EXPECT_EQ(connection.write(all), Flow::go);
  const std::size_t queued = connection.queued_bytes();
  EXPECT_GT(queued, 0u) << "the kernel took more than this test thought";
  EXPECT_LT(queued, all.size()) << "nothing was sent at once";
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.received().size() >= all.size(); }));
  EXPECT_TRUE(peer.received() == all);
  EXPECT_EQ(connection.queued_bytes(), 0u);
}

TEST_P(Write, TheApplicationMayReuseItsBufferAtOnce) {
  Limits limits;
  limits.high_water = kLarge;
  Line line = join(context(), recorder_, limits);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  const std::string all = pattern(kLarge);
  std::string buffer = all;
  connection.write(buffer);
  buffer.assign(buffer.size(), '#');
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.received().size() >= all.size(); }));
  EXPECT_TRUE(peer.received() == all);
}

TEST_P(Write, CorkedIsSentAsOneSegmentWhenTheCorkGoes) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  const int on = 1;
  ASSERT_EQ(::setsockopt(connection.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
  for (const char* text : {"a", "b", "c"}) connection.write(text);
  peer.read();
  EXPECT_EQ(data_segments_in(peer), 3u) << "without a cork each write is a segment";
  {
    const Cork cork = connection.cork();
    for (const char* text : {"d", "e", "f"}) EXPECT_EQ(connection.write(text), Flow::go);
    EXPECT_EQ(connection.queued_bytes(), 3u);
    EXPECT_FALSE(peer.read()) << "it is gathered";
  }
  EXPECT_EQ(connection.queued_bytes(), 0u);
  peer.read();
  EXPECT_EQ(peer.received(), "abcdef");
  EXPECT_EQ(data_segments_in(peer), 4u);
}

TEST_P(Write, ACorkGathersAtMostUpToTheHighWaterMark) {
  Limits limits;
  limits.high_water = 1000;
  limits.low_water = 500;
  Line line = join(context(), recorder_, limits);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  const Cork cork = connection.cork();
  for (int i = 0; i < 10; ++i) {
    connection.write(std::string(400, 'x'));
    EXPECT_LE(connection.queued_bytes(), 1000u);
  }
  peer.read();
  EXPECT_GE(peer.received().size(), 3000u);
}

TEST_P(Write, ACorkMayOutliveItsConnection) {
  Recorder recorder;
  std::optional<Cork> kept;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  kept.emplace(connection.cork());
  connection.write("lost");
  connection.abort();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  kept.reset();
  peer.read();
  EXPECT_EQ(peer.received(), "");
}

TEST_P(Write, CorkedThenClosedStillArrives) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  {
    const Cork cork = connection.cork();
    connection.write("last ");
    connection.write("words");
    connection.close();
  }
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.over(); }));
  EXPECT_EQ(peer.received(), "last words");
  EXPECT_TRUE(peer.ended());
}

TEST_P(Write, SaysWaitWhenMoreThanTheHighWaterMarkIsQueuedAndTakesItAllTheSame) {
  Limits limits;
  limits.high_water = 10'000;
  limits.low_water = 5'000;
  Line line = join(context(), recorder_, limits, Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  std::size_t below = 0;
  std::size_t taken = 0;
  const std::string piece(1000, 'x');
  for (Flow flow = Flow::go; flow == Flow::go; taken += piece.size()) {
    below = connection.queued_bytes();
    flow = connection.write(piece);
    ASSERT_NE(flow, Flow::closed);
  }
  EXPECT_LE(below, 10'000u);
  EXPECT_GT(connection.queued_bytes(), 10'000u);
  EXPECT_EQ(connection.write(piece), Flow::wait);
  taken += piece.size();
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.received().size() >= taken; }));
  EXPECT_EQ(peer.received().size(), taken);
}

TEST_P(Write, OnDrainComesOnceAtTheLowWaterMark) {
  Recorder recorder;
  std::size_t queued_at_drain = 0;
  recorder.when_drain = [&](Connection& connection) { queued_at_drain = connection.queued_bytes(); };
  Context context{GetParam().make()};
  Limits limits;
  limits.high_water = 2'000'000;
  limits.low_water = 1'000'000;
  Line line = join(context, recorder, limits, Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  ASSERT_EQ(fill(connection), Flow::wait);
  turns(context);
  EXPECT_EQ(recorder.drains, 0) << "nobody has read yet";
  const std::size_t queued = connection.queued_bytes();
  ASSERT_TRUE(run_until(context, [&] { return peer.read(50'000), connection.queued_bytes() < queued - 200'000; }));
  EXPECT_EQ(recorder.drains, 0) << "still above the low-water mark";
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), connection.queued_bytes() == 0; }));
  turns(context);
  EXPECT_EQ(recorder.drains, 1);
  EXPECT_LE(queued_at_drain, 1'000'000u);
}

TEST_P(Write, OnDrainComesAgainAfterTheNextWait) {
  Line line = join(context(), recorder_, {}, Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  for (int round = 1; round <= 3; ++round) {
    ASSERT_EQ(fill(connection), Flow::wait);
    ASSERT_TRUE(run_until(context(), [&] { return peer.read(), connection.queued_bytes() == 0; }));
    turns(context());
    EXPECT_EQ(recorder_.drains, round);
  }
}

TEST_P(Write, WithoutWaitThereIsNoOnDrain) {
  Limits limits;
  limits.high_water = kLarge;
  Line line = join(context(), recorder_, limits, Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  ASSERT_EQ(connection.write(pattern(1'000'000)), Flow::go);
  ASSERT_GT(connection.queued_bytes(), 0u);
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), connection.queued_bytes() == 0; }));
  turns(context());
  EXPECT_EQ(recorder_.drains, 0);
}

TEST_P(Write, BeyondMaxQueuedAborts) {
  Limits limits;
  limits.max_queued = 100'000;
  Line line = join(context(), recorder_, limits);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  const int before = recorder_.calls;
  connection.write(pattern(20'000'000));
  EXPECT_EQ(recorder_.calls, before) << "never inside write()";
  EXPECT_EQ(connection.write("more"), Flow::closed);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::no_buffer_space)) << recorder_.errors[0].message();
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.over(); }));
  EXPECT_EQ(peer.error(), ECONNRESET);
}

TEST_P(Write, AfterCloseIsDiscardedAndSaysSo) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  connection.write("taken");
  connection.close();
  EXPECT_EQ(connection.write("late"), Flow::closed);
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.over(); }));
  EXPECT_EQ(peer.received(), "taken");
}

TEST_P(Write, AfterShutdownWriteIsDiscardedAndSaysSo) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  connection.write("taken");
  connection.shutdown_write();
  EXPECT_EQ(connection.write("late"), Flow::closed);
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.over(); }));
  EXPECT_EQ(peer.received(), "taken");
}

TEST_P(Write, AfterAbortIsDiscardedAndSaysSo) {
  const Line line = join(context(), recorder_);
  line.connection.abort();
  EXPECT_EQ(line.connection.write("late"), Flow::closed);
}

TEST_P(Write, InsideOnCloseIsDiscardedAndSaysSo) {
  Recorder recorder;
  Flow flow = Flow::go;
  recorder.when_close = [&](Connection& connection, std::error_code) { flow = connection.write("late"); };
  Context context{GetParam().make()};
  const Line line = join(context, recorder);
  line.connection.abort();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_EQ(flow, Flow::closed);
}

TEST_P(Write, ThatFailsIsReportedLaterByOnClose) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  connection.pause_reading();
  turns(context());
  peer.reset();
  const int before = recorder_.calls;
  for (int i = 0; i < 3; ++i) connection.write("into the void");
  EXPECT_EQ(recorder_.calls, before) << "never inside write()";
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::connection_reset) || is(recorder_.errors[0], std::errc::broken_pipe))
      << recorder_.errors[0].message();
}

TEST_P(Write, ToAPeerThatIsGoneRaisesNoSignal) {
  struct sigaction action {};
  ASSERT_EQ(::sigaction(SIGPIPE, nullptr, &action), 0);
  ASSERT_EQ(action.sa_handler, SIG_DFL) << "this test needs the default, which ends the process";
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder, {}, Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context);
  peer.close();
  for (int i = 0; i < 3; ++i) connection.write("into the void");
  connection.shutdown_write();
  EXPECT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
}

// A server that answers early and does not read on: its answer lies in the socket when the write fails.
TEST_P(Write, WhatThePeerSentBeforeItResetIsDelivered) {
  for (const Kind kind : {Kind::tcp, Kind::unix_pair}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder, {}, kind);
    turns(context);
    line.connection.write("a request that is too long");
    line.peer.send("413");
    line.peer.close();  // with the request unread: a reset
    const std::string more(100'000, 'x');
    for (int i = 0; i < 3; ++i) line.connection.write(more);
    EXPECT_EQ(recorder.datas, 0) << "never inside write()";
    ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
    EXPECT_EQ(recorder.received, "413");
    EXPECT_TRUE(recorder.errors.front());
  }
}

TEST_P(Write, MoreThanMayBeQueuedIsNotCopied) {
  Limits limits;
  limits.max_queued = 1'000'000;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder, limits, Kind::unix_pair);
  turns(context);
  const std::size_t size = std::size_t{1} << 34;  // nobody may read these bytes, because the kernel refuses the write
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) GTEST_SKIP() << "no such large mapping here";
  EXPECT_EQ(line.connection.write({static_cast<const std::byte*>(memory), size}), Flow::closed);
  ::munmap(memory, size);
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  EXPECT_TRUE(is(recorder.errors.front(), std::errc::no_buffer_space));
}

TEST_P(Write, AnEndThatCameBeforeTheErrorIsTold) {
  Recorder recorder;
  recorder.when_end = [](Connection&) {};
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  turns(context);
  line.connection.pause_reading();
  line.peer.send("413");
  line.peer.close();  // with nothing unread: a FIN, and a reset once something comes
  line.connection.write("a");
  for (int i = 0; i < 1000 && line.connection.write("b") != Flow::closed; ++i) {
  }
  EXPECT_EQ(recorder.calls, 1) << "on_open";
  line.connection.resume_reading();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  EXPECT_EQ(recorder.received, "413");
  EXPECT_EQ(recorder.ends, 1);
  EXPECT_TRUE(is(recorder.errors[0], std::errc::broken_pipe)) << recorder.errors[0].message();
}

// A proxy pauses its reading while its other side is full.
TEST_P(Write, WhatThePeerSentBeforeItResetWaitsForAPausedReader) {
  Line line = join(context(), recorder_, {}, Kind::unix_pair);
  turns(context());
  line.connection.pause_reading();
  line.connection.write("a request that is too long");
  line.peer.send("413");
  line.peer.close();
  EXPECT_EQ(line.connection.write("more"), Flow::closed);
  turns(context());
  EXPECT_EQ(recorder_.datas + recorder_.closes, 0);
  line.connection.resume_reading();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_EQ(recorder_.received, "413");
  EXPECT_TRUE(recorder_.errors[0]);
}

// The echo has paused its reading until on_drain, and the queue can no longer be sent. The connection must end at once
// and not wait for the linger time.
TEST_P(Write, AConnectionThatWaitsForItsDrainEndsWhenThePeerIsGone) {
  Recorder recorder;
  recorder.when_data = [](Connection& connection, std::string_view data) {
    if (connection.write(data) == Flow::wait) connection.pause_reading();
  };
  recorder.when_drain = [](Connection& connection) { connection.resume_reading(); };
  Limits limits;
  limits.linger = 1h;
  Context context{GetParam().make()};
  Line line = join(context, recorder, limits, Kind::unix_pair);
  const std::string piece(100'000, 'x');
  int stuck = 0;
  ASSERT_TRUE(run_until(context, [&] {
    stuck = line.peer.send(piece) == 0 ? stuck + 1 : 0;
    return stuck == 20;
  }));
  line.peer.close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_TRUE(recorder.errors[0]);
}

TEST_P(Write, ClosedByTheAnswerThatCameBeforeTheResetItEndsWithTheError) {
  Recorder recorder;
  recorder.when_data = [](Connection& connection, std::string_view) { connection.close(); };
  Limits limits;
  limits.linger = 0ns;
  Context context{GetParam().make()};
  Line line = join(context, recorder, limits, Kind::unix_pair);
  turns(context);
  line.connection.write("a request that is too long");
  line.peer.send("413");
  line.peer.close();
  EXPECT_EQ(line.connection.write("more"), Flow::closed);
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  EXPECT_EQ(recorder.received, "413");
  EXPECT_TRUE(recorder.errors[0]);
}

}  // namespace
}  // namespace onloop::test
