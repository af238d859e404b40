// close() loses no bytes, abort() works at once, and each callback may call either of them.
#include <netinet/in.h>
#include <sys/socket.h>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Close : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Close);

Limits linger_of(std::chrono::nanoseconds linger) {
  Limits limits;
  limits.linger = linger;
  return limits;
}

// A kernel that closes a socket with unread input sends RST, and what was sent before it is lost on the way.
TEST_P(Close, LosesNothingOfFourMegabytesAlthoughInputIsUnread) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  line.connection.pause_reading();
  ASSERT_GT(peer.send(pattern(1'000'000)), 0u);
  turns(context());
  const std::string all = pattern(4 * 1024 * 1024);
  line.connection.write(all);
  line.connection.close();
  EXPECT_EQ(recorder_.closes, 0) << "never inside close()";
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(300'000), peer.over(); }));
  EXPECT_EQ(peer.error(), 0) << "a reset";
  EXPECT_TRUE(peer.received() == all);
  peer.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_FALSE(recorder_.errors[0]) << recorder_.errors[0].message();
  EXPECT_EQ(recorder_.datas, 0) << "on_close is the only callback that still comes";
}

TEST_P(Close, ReadsAndDiscardsWhatAPeerGoesOnSending) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  turns(context());
  line.connection.write("answer");
  line.connection.close();
  const std::string all = pattern(16'000'000);  // more than the kernel would hold
  std::string_view rest = all;
  ASSERT_TRUE(run_until(context(), [&] {
    rest.remove_prefix(peer.send(rest));
    return rest.empty();
  }));
  peer.finish();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  peer.read();
  EXPECT_EQ(peer.received(), "answer");
  EXPECT_EQ(peer.error(), 0);
  EXPECT_EQ(recorder_.datas + recorder_.ends, 0);
}

TEST_P(Close, AConnectionWhosePeerHasEndedClosesWithoutWaiting) {
  Recorder recorder;
  recorder.when_end = [](Connection& connection) { connection.close(); };
  Context context{GetParam().make()};
  const Line line = join(context, recorder, linger_of(1h));
  line.peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_FALSE(recorder.errors[0]) << recorder.errors[0].message();
}

TEST_P(Close, WaitsForThePeersEndNoLongerThanLinger) {
  Line line = join(context(), recorder_, linger_of(30ms));
  Peer& peer = line.peer;
  line.connection.write("answer");
  const auto start = Clock::now();
  line.connection.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_GE(Clock::now() - start, 30ms);
  peer.read();
  EXPECT_EQ(peer.received(), "answer");
}

TEST_P(Close, AFlushWithoutProgressEndsWithTimedOut) {
  Line line = join(context(), recorder_, linger_of(30ms));
  line.connection.write(pattern(10'000'000));
  line.connection.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::timed_out)) << recorder_.errors[0].message();
}

TEST_P(Close, AFlushWithProgressMayTakeLongerThanLinger) {
  Line line = join(context(), recorder_, linger_of(90ms), Kind::unix_pair);
  Peer& peer = line.peer;
  const std::string all = pattern(1'500'000);
  line.connection.write(all);
  const auto start = Clock::now();
  line.connection.close();
  // The peer makes room every 10 ms, and takes the rest after the time of the limit. No pause of the peer is nearly as
  // long as the limit.
  auto last = start;
  Clock::duration longest_pause{0};
  const Timer reading = context().every(10ms, [&] {
    const auto now = Clock::now();
    longest_pause = std::max(longest_pause, now - std::exchange(last, now));
    peer.read(now - start < 120ms ? 100'000 : SIZE_MAX);
  });
  ASSERT_TRUE(run_until(context(), [&] { return peer.over() || recorder_.closes > 0; }));
  if (longest_pause > 60ms) GTEST_SKIP() << "the machine held the peer up";
  EXPECT_GT(Clock::now() - start, 90ms);
  EXPECT_TRUE(peer.received() == all);
  EXPECT_EQ(peer.error(), 0);
}

TEST_P(Close, WithoutLingerAbortsInsteadOfWaiting) {
  Line line = join(context(), recorder_, linger_of(0ns));
  Peer& peer = line.peer;
  line.connection.write(pattern(10'000'000));
  line.connection.close();
  EXPECT_EQ(recorder_.closes, 0) << "never inside close()";
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), peer.over(); }));
  EXPECT_EQ(peer.error(), ECONNRESET);
}

TEST_P(Close, TwiceIsAsOnce) {
  Line line = join(context(), recorder_);
  line.connection.close();
  line.connection.close();
  turns(context());
  line.connection.close();
  line.connection.shutdown_write();
  line.peer.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  turns(context());
  EXPECT_EQ(recorder_.closes, 1);
  EXPECT_FALSE(recorder_.errors[0]) << recorder_.errors[0].message();
}

TEST_P(Close, AbortAfterCloseEndsTheWait) {
  Line line = join(context(), recorder_, linger_of(1h));
  line.connection.close();
  turns(context());
  ASSERT_EQ(recorder_.closes, 0);
  line.connection.abort(errc(std::errc::owner_dead));
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::owner_dead)) << recorder_.errors[0].message();
}

TEST_P(Close, AbortIsNowAndSendsAReset) {
  Line line = join(context(), recorder_);
  Peer& peer = line.peer;
  line.connection.write(pattern(10'000'000));
  line.connection.abort(errc(std::errc::protocol_error));
  EXPECT_EQ(recorder_.calls, 0) << "never inside abort()";
  EXPECT_EQ(line.connection.fd(), -1);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::protocol_error)) << recorder_.errors[0].message();
  peer.read();
  EXPECT_EQ(peer.error(), ECONNRESET);
  EXPECT_LT(peer.received().size(), 10'000'000u);
}

TEST_P(Close, AbortTwiceReportsTheFirstErrorOnce) {
  Line line = join(context(), recorder_);
  line.connection.abort(errc(std::errc::protocol_error));
  line.connection.abort(errc(std::errc::owner_dead));
  line.connection.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  turns(context());
  ASSERT_EQ(recorder_.closes, 1);
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::protocol_error)) << recorder_.errors[0].message();
}

TEST_P(Close, InOnCloseTheDescriptorIsClosedAndTheReferenceValid) {
  Recorder recorder;
  bool seen = false;
  recorder.when_close = [&](Connection& connection, std::error_code) {
    seen = connection.fd() == -1 && connection.peer().port() != 0 && connection.local() == Address{} &&
           connection.queued_bytes() == 0 && connection.write("late") == Flow::closed;
    connection.close();
    connection.abort();
    connection.shutdown_write();
    connection.pause_reading();
    connection.resume_reading();
    connection.set_idle_timeout(1s);
  };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  line.peer.reset();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  turns(context);
  EXPECT_TRUE(seen);
  EXPECT_EQ(recorder.closes, 1);
}

TEST_P(Close, AResetOfThePeerIsReportedAsSuch) {
  Line line = join(context(), recorder_);
  turns(context());
  line.peer.reset();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_TRUE(is(recorder_.errors[0], std::errc::connection_reset)) << recorder_.errors[0].message();
  EXPECT_EQ(recorder_.ends, 0);
}

// What each callback may do. After that, only on_close of the connection may be called.
enum class Act { close, abort };
struct InCallback {
  const char* name;
  void (*arm)(Recorder&, std::function<void(Connection&)>);
};
const InCallback kCallbacks[] = {
    {"on_open", [](Recorder& r, std::function<void(Connection&)> act) { r.when_open = std::move(act); }},
    {"on_data",
     [](Recorder& r, std::function<void(Connection&)> act) {
       r.when_data = [act = std::move(act)](Connection& connection, std::string_view) { act(connection); };
     }},
    {"on_drain", [](Recorder& r, std::function<void(Connection&)> act) { r.when_drain = std::move(act); }},
    {"on_end", [](Recorder& r, std::function<void(Connection&)> act) { r.when_end = std::move(act); }},
};

void acts_in_each_callback(const LoopCase& loop, Act what) {
  for (const InCallback& callback : kCallbacks) {
    SCOPED_TRACE(callback.name);
    Recorder recorder;
    int calls_at_act = 0;
    callback.arm(recorder, [&](Connection& connection) {
      what == Act::close ? connection.close() : connection.abort();
      calls_at_act = recorder.calls;
    });
    Context context{loop.make()};
    Limits limits;
    limits.high_water = 10'000;
    limits.low_water = 2'000;
    limits.pause_reading_when_full = false;
    Line line = join(context, recorder, limits, Kind::unix_pair);
    Peer& peer = line.peer;
    while (line.connection.write(pattern(5'000)) == Flow::go) {
    }
    peer.send("data");
    bool finished = false;
    ASSERT_TRUE(run_until(context, [&] {
      peer.read();
      const bool had_all_before_the_end = recorder.datas > 0 && recorder.drains > 0;
      if (!finished && (calls_at_act > 0 || had_all_before_the_end)) {
        peer.finish();
        finished = true;
      }
      return recorder.closes > 0;
    }));
    turns(context);
    EXPECT_GT(calls_at_act, 0) << "the callback never came";
    EXPECT_EQ(recorder.calls, calls_at_act + 1);
    EXPECT_EQ(recorder.closes, 1);
  }
}

TEST_P(Close, CloseInEachCallbackIsFollowedByOnCloseAlone) {
  acts_in_each_callback(GetParam(), Act::close);
}

TEST_P(Close, AbortInEachCallbackIsFollowedByOnCloseAlone) {
  acts_in_each_callback(GetParam(), Act::abort);
}

// The peer reads steadily at 2 MB/s. The socket becomes writable only when much of the send buffer is free. This takes
// longer than the limit.
TEST_P(Close, APeerThatReadsSteadilyIsServedToTheEnd) {
  constexpr int kSendBuffer = 500'000;
  constexpr int kReceiveBuffer = 32'768;
  for (const Kind kind : {Kind::tcp, Kind::unix_pair}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder, linger_of(60ms), kind);
    Peer& peer = line.peer;
    ::setsockopt(line.connection.fd(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer);
    ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
    const std::string all = pattern(1'000'000);
    line.connection.write(all);
    line.connection.close();
    auto last = Clock::now();
    Clock::duration longest_pause{0};
    const Timer reading = context.every(2ms, [&] {
      const auto now = Clock::now();
      longest_pause = std::max(longest_pause, now - std::exchange(last, now));
      peer.read(8'000);
    });
    ASSERT_TRUE(run_until(context, [&] { return peer.over(); }));
    if (longest_pause > 40ms) GTEST_SKIP() << "the machine held the peer up";
    EXPECT_TRUE(peer.received() == all) << peer.received().size();
    EXPECT_EQ(peer.error(), 0);
  }
}

class OwnCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "own"; }
  [[nodiscard]] std::string message(int) const override { return "an error of the application's"; }
};

TEST_P(Close, AnAbortGivesItsErrorToOnCloseAsItIs) {
  static const OwnCategory own;
  for (const std::error_code error : {std::error_code(7, own), std::error_code(EPIPE, std::system_category()),
                                      std::make_error_code(std::errc::broken_pipe), std::error_code()}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder);
    turns(context);
    line.connection.abort(error);
    ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
    EXPECT_EQ(recorder.errors[0], error) << error.message();
  }
}

}  // namespace
}  // namespace onloop::test
