// Idle time-outs. A time-out may come late on a busy machine. The tests assert by the clock that it never comes early.
#include <sys/socket.h>

#include "drive.hpp"

namespace onloop::test {
namespace {

class IdleTimeout : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(IdleTimeout);

Limits idle_after(std::chrono::nanoseconds timeout) {
  Limits limits;
  limits.idle_timeout = timeout;
  return limits;
}

void expect_timed_out(const Recorder& recorder) {
  ASSERT_EQ(recorder.closes, 1);
  EXPECT_TRUE(is(recorder.errors[0], std::errc::timed_out)) << recorder.errors[0].message();
}

TEST_P(IdleTimeout, ClosesASilentConnectionAndNoEarlier) {
  const auto start = Clock::now();
  Line line = join(context(), recorder_, idle_after(30ms));
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_GE(Clock::now() - start, 30ms);
  EXPECT_EQ(recorder_.opens, 1);
  expect_timed_out(recorder_);
  EXPECT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.over(); }));
}

TEST_P(IdleTimeout, CountsFromTheLastByteThatCame) {
  Recorder recorder;
  auto last = Clock::now();
  recorder.when_data = [&](Connection&, std::string_view) { last = Clock::now(); };
  Context context{GetParam().make()};
  Line line = join(context, recorder, idle_after(25ms));
  const auto start = Clock::now();
  line.peer.send("x");  // also where a slow machine lets the time-out pass before the timer below
  const Timer sending = context.every(8ms, [&] {
    if (Clock::now() - start < 40ms) line.peer.send("x");
  });
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  EXPECT_GT(recorder.datas, 0);
  EXPECT_GE(Clock::now() - last, 25ms);
  expect_timed_out(recorder);
}

// Bytes that came after the FIN of this side once did not count. So a client that had ended its side lost a long
// answer.
TEST_P(IdleTimeout, CountsWhatComesAfterTheOwnEnd) {
  Recorder recorder;
  auto last = Clock::now();
  recorder.when_data = [&](Connection&, std::string_view) { last = Clock::now(); };
  Context context{GetParam().make()};
  Line line = join(context, recorder, idle_after(25ms));
  line.connection.shutdown_write();
  const auto start = Clock::now();
  line.peer.send("x");  // also where a slow machine lets the time-out pass before the timer below
  const Timer sending = context.every(8ms, [&] {
    if (Clock::now() - start < 40ms) line.peer.send("x");
  });
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
  EXPECT_GE(Clock::now() - last, 25ms);
  expect_timed_out(recorder);
}

TEST_P(IdleTimeout, CountsFromTheLastByteThatWent) {
  Line line = join(context(), recorder_, idle_after(25ms));
  const auto start = Clock::now();
  auto last = start;
  Timer sending = context().every(8ms, [&] {
    if (Clock::now() - start >= 40ms) return;
    last = Clock::now();
    line.connection.write("x");
  });
  recorder_.when_close = [&](Connection&, std::error_code) { sending.cancel(); };
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_GT(last, start);
  EXPECT_GE(Clock::now() - last, 25ms);
  expect_timed_out(recorder_);
}

TEST_P(IdleTimeout, OfZeroIsNone) {
  Line line = join(context(), recorder_, idle_after(20ms));
  line.connection.set_idle_timeout(0ns);
  bool later = false;
  const Timer timer = context().timer(50ms, [&] { later = true; });
  ASSERT_TRUE(run_until(context(), [&] { return later; }));
  EXPECT_EQ(recorder_.closes, 0);
}

TEST_P(IdleTimeout, CanBeSetWhereThereWasNone) {
  Line line = join(context(), recorder_);
  turns(context());
  const auto start = Clock::now();
  line.connection.set_idle_timeout(20ms);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_GE(Clock::now() - start, 20ms);
  expect_timed_out(recorder_);
}

TEST_P(IdleTimeout, CanBeShortened) {
  Line line = join(context(), recorder_, idle_after(1h));
  turns(context());
  line.connection.set_idle_timeout(20ms);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  expect_timed_out(recorder_);
}

TEST_P(IdleTimeout, SetAgainCountsFromNow) {
  Line line = join(context(), recorder_, idle_after(25ms));
  auto set_at = Clock::now();
  const Timer setting = context().timer(15ms, [&] {
    set_at = Clock::now();
    line.connection.set_idle_timeout(25ms);
  });
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_FALSE(setting.active());
  EXPECT_GE(Clock::now() - set_at, 25ms);
  expect_timed_out(recorder_);
}

TEST_P(IdleTimeout, OfOneConnectionLeavesTheOthers) {
  Line silent = join(context(), recorder_, idle_after(20ms));
  Line other = join(context(), recorder_);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  expect_timed_out(recorder_);
  other.peer.send("alive");
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.received == "alive"; }));
}

TEST_P(IdleTimeout, AppliesToAPeerThatDoesNotRead) {
  Line line = join(context(), recorder_, idle_after(25ms));
  line.connection.write(pattern(10'000'000));
  ASSERT_GT(line.connection.queued_bytes(), 0u);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  expect_timed_out(recorder_);
}

TEST_P(IdleTimeout, IsNotPutOffByWritesOfNothing) {
  Limits limits;
  limits.idle_timeout = 50ms;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder, limits);
  const Timer writes = context.every(5ms, [&] {
    if (recorder.closes == 0) line.connection.write("");
  });
  EXPECT_TRUE(run_until(context, [&] { return recorder.closes > 0; }));
}

TEST_P(IdleTimeout, DoesNotComeWhileASlowPeerReads) {
  for (const Kind kind : {Kind::tcp, Kind::unix_pair}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder, idle_after(60ms), kind);
    constexpr int kSendBuffer = 500'000;
    constexpr int kReceiveBuffer = 32'768;
    ::setsockopt(line.connection.fd(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer);
    ::setsockopt(line.peer.fd(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
    const std::string all = pattern(800'000);
    std::size_t read_at_close = 0;
    recorder.when_close = [&](Connection&, std::error_code) { read_at_close = line.peer.received().size(); };
    line.connection.write(all);
    auto last = Clock::now();
    Clock::duration longest_pause{0};
    const Timer reading = context.every(2ms, [&] {
      const auto now = Clock::now();
      longest_pause = std::max(longest_pause, now - std::exchange(last, now));
      line.peer.read(8'000);
    });
    ASSERT_TRUE(run_until(context, [&] { return line.peer.received().size() == all.size() || line.peer.over(); }));
    if (longest_pause > 40ms) GTEST_SKIP() << "the machine held the peer up";
    EXPECT_TRUE(line.peer.received() == all) << line.peer.received().size();
    EXPECT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
    EXPECT_EQ(read_at_close, all.size()) << "what the kernel holds is not taken yet";
    expect_timed_out(recorder);
  }
}

// Bytes that only go into a buffer of the kernel are not progress.
TEST_P(IdleTimeout, IsNotPutOffByWritesThatThePeerDoesNotTake) {
  Line line = join(context(), recorder_, idle_after(50ms), Kind::unix_pair);
  constexpr int kSendBuffer = 4'000'000;  // room for all that is written until the test gives up
  ::setsockopt(line.connection.fd(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer);
  const Timer writes = context().every(5ms, [&] {
    if (recorder_.closes == 0) line.connection.write("x");
  });
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  expect_timed_out(recorder_);
}

// Over TCP, the kernel reports when the peer has acknowledged the bytes. So the time before the acknowledgement does
// not count twice.
TEST_P(IdleTimeout, CountsFromTheLastByteThatWentAndNoLonger) {
  Line line = join(context(), recorder_, idle_after(300ms));
  turns(context());
  line.connection.write("x");
  const auto start = Clock::now();
  bool late = false;
  const Timer timer = context().timer(570ms, [&] { late = true; });
  recorder_.when_close = [&](Connection&, std::error_code) { EXPECT_FALSE(late); };
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes > 0; }));
  EXPECT_GE(Clock::now() - start, 300ms);
}

}  // namespace
}  // namespace onloop::test
