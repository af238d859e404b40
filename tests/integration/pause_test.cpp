// Pausing the reader: what waits, what is still noticed, and that a pause costs nothing.
#include <linux/net_tstamp.h>
#include <poll.h>
#include <sys/socket.h>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Pause : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Pause);

TEST_P(Pause, InOnOpenKeepsAllBytesUntilResumed) {
  Recorder recorder;
  recorder.when_open = [](Connection& connection) { connection.pause_reading(); };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  line.peer.send("waiting");
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  turns(context);
  EXPECT_EQ(recorder.datas, 0);
  line.connection.resume_reading();
  EXPECT_EQ(recorder.datas, 0) << "never inside resume_reading()";
  ASSERT_TRUE(run_until(context, [&] { return recorder.received == "waiting"; }));
}

TEST_P(Pause, InOnDataIsTheLastOneUntilResumedFromATimer) {
  Recorder recorder;
  recorder.when_data = [](Connection& connection, std::string_view) { connection.pause_reading(); };
  ContextOptions options;
  options.read_buffer = 1000;
  Context context{GetParam().make(), options};
  Line line = join(context, recorder);
  const std::string all = pattern(5000);
  line.peer.send(all);
  for (int piece = 1; piece <= 5; ++piece) {
    ASSERT_TRUE(run_until(context, [&] { return recorder.datas == piece; }));
    turns(context);
    EXPECT_EQ(recorder.datas, piece);
    EXPECT_EQ(recorder.received, all.substr(0, static_cast<std::size_t>(piece) * 1000));
    const Timer resuming = context.timer(0ns, [&] { line.connection.resume_reading(); });
    ASSERT_TRUE(run_until(context, [&] { return !resuming.active(); }));
  }
}

TEST_P(Pause, AndResumeInOneOnDataReadsOnWithoutReentry) {
  Recorder recorder;
  int depth = 0;
  int deepest = 0;
  recorder.when_data = [&](Connection& connection, std::string_view) {
    deepest = std::max(deepest, ++depth);
    connection.pause_reading();
    connection.resume_reading();
    --depth;
  };
  ContextOptions options;
  options.read_buffer = 100;
  Context context{GetParam().make(), options};
  Line line = join(context, recorder);
  const std::string all = pattern(5000);
  line.peer.send(all);
  ASSERT_TRUE(run_until(context, [&] { return recorder.received == all; }));
  EXPECT_EQ(deepest, 1);
}

TEST_P(Pause, DoesNotCountCalls) {
  Line line = join(context(), recorder_);
  line.connection.pause_reading();
  line.connection.pause_reading();
  line.connection.pause_reading();
  line.connection.resume_reading();
  line.peer.send("read");
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.received == "read"; }));
}

TEST_P(Pause, AnEndOfThePeerIsSeenOnResumingAfterTheData) {
  Line line = join(context(), recorder_);
  turns(context());
  line.connection.pause_reading();
  line.peer.send("last");
  line.peer.finish();
  turns(context(), 50);
  EXPECT_EQ(recorder_.datas + recorder_.ends + recorder_.closes, 0);
  std::string before_end;
  recorder_.when_end = [&](Connection& connection) {
    before_end = recorder_.received;
    connection.close();
  };
  line.connection.resume_reading();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.ends == 1; }));
  EXPECT_EQ(before_end, "last");
}

TEST_P(Pause, AResetOfThePeerIsSeenOnResuming) {
  Line line = join(context(), recorder_);
  turns(context());
  line.connection.pause_reading();
  line.peer.reset();
  turns(context(), 50);
  EXPECT_EQ(recorder_.closes, 0);
  line.connection.resume_reading();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::connection_reset)) << recorder_.errors[0].message();
}

TEST_P(Pause, AResetOfThePeerIsNoticedByAWrite) {
  Line line = join(context(), recorder_);
  turns(context());
  line.connection.pause_reading();
  line.peer.reset();
  turns(context());
  ASSERT_EQ(recorder_.closes, 0);
  line.connection.write("anybody there?");
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(recorder_.errors[0]);
}

// Only a descriptor shows whether a loop is silent.
class PauseByFd : public LoopTest {};
ONLOOP_ON_LOOPS(PauseByFd, loops_with_fd());

// After a reset, a socket is always ready, whatever interest is left. If the reset is not handled, the loop spins.
TEST_P(PauseByFd, CostsNoTurnsWhateverThePeerDoes) {
  using Doing = void (*)(Peer&);
  for (const Doing doing : {Doing{[](Peer& peer) { peer.send("data"); }}, Doing{[](Peer& peer) { peer.finish(); }},
                            Doing{[](Peer& peer) { peer.close(); }}, Doing{[](Peer& peer) { peer.reset(); }}}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder);
    turns(context);
    line.connection.pause_reading();
    doing(line.peer);
    turns(context);  // the interest is removed only in a later turn
    EXPECT_FALSE(readable(context.pollable_fd(), 20ms));
  }
}

TEST_P(Pause, TheIdleTimeoutRunsMeanwhile) {
  Recorder recorder;
  Limits limits;
  limits.idle_timeout = 30ms;
  Context context{GetParam().make()};
  Line line = join(context, recorder, limits);
  line.connection.pause_reading();
  line.peer.send("unread");
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_TRUE(is(recorder.errors[0], std::errc::timed_out)) << recorder.errors[0].message();
  EXPECT_EQ(recorder.datas, 0);
}

TEST_P(Pause, WritingGoesOn) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  line.connection.pause_reading();
  const std::string all = pattern(8'000'000);
  line.connection.write(all);
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.received().size() >= all.size(); }));
  EXPECT_TRUE(peer.received() == all);
}

// Reports about sent bytes in the error queue make a socket always ready. No read or write removes these reports.
TEST_P(Pause, ReportsInTheErrorQueueDoNotKeepTheLoopAwake) {
  for (const bool full : {false, true}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder);
    turns(context);
    const int what = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK | SOF_TIMESTAMPING_SOFTWARE;
    const int fd = line.connection.fd();
    ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &what, sizeof what), 0);
    line.connection.write("x");
    const auto reported = [fd] {
      pollfd state{.fd = fd, .events = 0, .revents = 0};
      return ::poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
    };
    if (!reported()) GTEST_SKIP() << "no reports here";
    if (full) {  // the connection waits only until it can write
      line.connection.pause_reading();
      line.connection.write(pattern(10'000'000));
      line.peer.send("unread");
    }
    ASSERT_TRUE(run_until(context, [&] { return !reported(); })) << full;
    EXPECT_EQ(recorder.closes, 0);
    line.connection.resume_reading();
    line.peer.send("still there");
    EXPECT_TRUE(run_until(context, [&] { return line.peer.read(), recorder.received.ends_with("still there"); }));
  }
}

}  // namespace
}  // namespace onloop::test
