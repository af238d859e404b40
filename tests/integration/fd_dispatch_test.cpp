// pollable_fd() and dispatch(): the context inside a loop that the application wrote by hand.
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

class FdDispatch : public CleanTest {
 protected:
  // The loop of the application: it waits for the descriptor of the context and dispatches, until `done` returns true.
  // The application makes all its calls outside the callbacks of the context.
  static ::testing::AssertionResult poll_until(Context& context, const std::function<bool()>& done) {
    const auto deadline = Clock::now() + 10s;
    while (!done()) {
      if (Clock::now() > deadline) return ::testing::AssertionFailure() << "not reached";
      if (readable(context.pollable_fd(), 10s)) context.dispatch();
    }
    return ::testing::AssertionSuccess();
  }

  // Serves everything that is due. Expects that the descriptor is then not readable.
  static void settle(Context& context) {
    for (int i = 0; i < 20 && readable(context.pollable_fd()); ++i) context.dispatch();
    EXPECT_FALSE(readable(context.pollable_fd(), 5ms)) << "it is readable without work";
  }
};

TEST_F(FdDispatch, IsOneDescriptorThatIsTheContexts) {
  Context context{native()};
  const int fd = context.pollable_fd();
  EXPECT_GE(fd, 0);
  EXPECT_EQ(context.pollable_fd(), fd);
  EXPECT_EQ(context.fd(), fd) << "the alias is another descriptor";
}

TEST_F(FdDispatch, IsRefusedWhereTheLoopHasNoDescriptor) {
  Context context{native_poll()};
  const Thrown thrown = thrown_by([&] { return context.pollable_fd(); });
  EXPECT_TRUE(is(thrown.code, std::errc::not_supported)) << thrown.words;
}

TEST_F(FdDispatch, IdleIsSilent) {
  Echo echo;
  Recorder recorder;
  Context context{native()};
  context.listen("127.0.0.1:0", echo);
  const Line line = join(context, recorder);
  const Timer timer = context.timer(1h, [] {});
  settle(context);
}

TEST_F(FdDispatch, WithNothingToDoDispatchReturnsAtOnce) {
  Context context{native()};
  const Timer timer = context.timer(1h, [] { FAIL(); });
  for (int i = 0; i < 100; ++i) context.dispatch();
}

TEST_F(FdDispatch, ATimerSetFromOutsideMakesItReadable) {
  Context context{native()};
  settle(context);
  bool fired = false;
  const auto start = Clock::now();
  const Timer timer = context.timer(5ms, [&] { fired = true; });
  EXPECT_TRUE(poll_until(context, [&] { return fired; }));
  EXPECT_GE(Clock::now() - start, 5ms);
  settle(context);
}

TEST_F(FdDispatch, AnEarlierTimerSetFromOutsideComesEarlier) {
  Context context{native()};
  const Timer late = context.timer(1h, [] { FAIL(); });
  settle(context);
  bool fired = false;
  const Timer early = context.timer(1ms, [&] { fired = true; });
  EXPECT_TRUE(poll_until(context, [&] { return fired; }));
}

TEST_F(FdDispatch, ATimerCancelledFromOutsideLeavesSilence) {
  Context context{native()};
  settle(context);
  {
    const Timer timer = context.timer(10ms, [] { FAIL(); });
    context.dispatch();
  }
  if (readable(context.pollable_fd(), 15ms)) context.dispatch();  // one vain wake-up is allowed
  settle(context);
}

TEST_F(FdDispatch, APostFromOutsideMakesItReadableAtOnce) {
  Context context{native()};
  settle(context);
  bool ran = false;
  context.post([&] { ran = true; });
  EXPECT_TRUE(readable(context.pollable_fd(), 1000ms));
  EXPECT_FALSE(ran);
  EXPECT_TRUE(poll_until(context, [&] { return ran; }));
  settle(context);
}

TEST_F(FdDispatch, ARemoteOnAnotherThreadMakesItReadable) {
  int woken = 0;
  bool posted = false;
  ContextOptions options;
  options.on_wake = [&] { ++woken; };
  Context context{native(), options};
  settle(context);
  std::thread thread([remote = context.remote(), &posted] {
    remote.wake();
    remote.post([&posted] { posted = true; });
  });
  EXPECT_TRUE(poll_until(context, [&] { return woken > 0 && posted; }));
  thread.join();
  settle(context);
}

TEST_F(FdDispatch, SocketsAreServed) {
  Echo echo;
  Recorder client;
  Context context{native()};
  const std::string all = pattern(3'000'000);
  client.when_open = [&](Connection& connection) { connection.write(all); };
  context.connect(context.listen("127.0.0.1:0", echo).address().to_string(), client);
  EXPECT_TRUE(poll_until(context, [&] { return client.received.size() == all.size(); }));
  EXPECT_TRUE(client.received == all);
}

TEST_F(FdDispatch, WritesFromOutsideAreFlushedAsThePeerReads) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  settle(context);
  const std::string all = pattern(8'000'000);
  EXPECT_EQ(line.connection.write(all), Flow::wait);
  EXPECT_TRUE(poll_until(context, [&] { return line.peer.read(), line.peer.received().size() == all.size(); }));
  EXPECT_TRUE(line.peer.received() == all);
  EXPECT_EQ(recorder.drains, 1);
  settle(context);
}

TEST_F(FdDispatch, AbortFromOutsideBringsOnClose) {
  Recorder recorder;
  Context context{native()};
  const Line line = join(context, recorder);
  settle(context);
  line.connection.abort();
  EXPECT_TRUE(poll_until(context, [&] { return recorder.closes == 1; }));
  settle(context);
}

TEST_F(FdDispatch, AnErrorOfAWriteFromOutsideBringsOnClose) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  settle(context);
  line.connection.pause_reading();
  line.peer.reset();
  settle(context);
  for (int i = 0; i < 2; ++i) line.connection.write("into the void");
  EXPECT_TRUE(poll_until(context, [&] { return recorder.closes == 1; }));
}

TEST_F(FdDispatch, ResumingFromOutsideReadsWhatIsThere) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  line.connection.pause_reading();
  line.peer.send("waiting");
  settle(context);
  line.connection.resume_reading();
  EXPECT_TRUE(poll_until(context, [&] { return recorder.received == "waiting"; }));
}

TEST_F(FdDispatch, AdoptedFromOutsideOpens) {
  Recorder recorder;
  Context context{native()};
  settle(context);
  const Line line = join(context, recorder);
  EXPECT_TRUE(poll_until(context, [&] { return recorder.opens == 1; }));
}

TEST_F(FdDispatch, AConnectFromOutsideThatIsRefusedAtOnceBringsOnClose) {
  const TemporaryDirectory directory;
  Recorder recorder;
  Context context{native()};
  settle(context);
  context.connect("unix:" + directory.file("nobody"), recorder);
  EXPECT_TRUE(poll_until(context, [&] { return recorder.closes == 1; }));
}

TEST_F(FdDispatch, ADrainFromOutsideIsDone) {
  Recorder recorder;
  Context context{native()};
  const Line line = join(context, recorder);
  settle(context);
  bool done = false;
  context.drain(5ms, [&] { done = true; });
  EXPECT_TRUE(poll_until(context, [&] { return done; }));
  EXPECT_EQ(recorder.closes, 1);
  settle(context);
}

TEST_F(FdDispatch, AnIdleTimeoutSetFromOutsideComes) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  settle(context);
  line.connection.set_idle_timeout(5ms);
  EXPECT_TRUE(poll_until(context, [&] { return recorder.closes == 1; }));
}

TEST_F(FdDispatch, RunAndDispatchMayAlternate) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  std::string expected;
  for (int i = 0; i < 5; ++i) {
    line.peer.send("x");
    expected += 'x';
    EXPECT_TRUE(poll_until(context, [&] { return recorder.received == expected; }));
    line.peer.send("y");
    expected += 'y';
    EXPECT_TRUE(run_until(context, [&] { return recorder.received == expected; }));
  }
  settle(context);
}

TEST_F(FdDispatch, NestsInAnEpollSetOfTheApplications) {
  Recorder recorder;
  Context context{native()};
  Line line = join(context, recorder);
  settle(context);
  const Fd outer(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(outer.get(), EPOLL_CTL_ADD, context.pollable_fd(), &event), 0);
  EXPECT_EQ(::epoll_wait(outer.get(), &event, 1, 0), 0);
  for (int i = 0; i < 3; ++i) {
    line.peer.send("x");
    ASSERT_EQ(::epoll_wait(outer.get(), &event, 1, 10'000), 1);
    context.dispatch();
    const Timer timer = context.timer(1ms, [] {});
    ASSERT_EQ(::epoll_wait(outer.get(), &event, 1, 10'000), 1);
    settle(context);
  }
  EXPECT_EQ(recorder.received, "xxx");
}

TEST_F(FdDispatch, TheContextMayBeDestroyedInsideDispatch) {
  auto context = std::make_unique<Context>(native());
  int ran = 0;
  context->post([&] {
    context.reset();
    ++ran;
  });
  context->dispatch();
  EXPECT_EQ(ran, 1);
}

// The same with the descriptor in an edge-triggered set, as in mio, tokio and Asio. The application dispatches once for
// each event. If there is more to do, another event must follow.
class EdgeTriggered : public LoopTest {
 protected:
  void TearDown() override {
    outer_ = Fd();
    LoopTest::TearDown();
  }
  [[nodiscard]] ::testing::AssertionResult edges_until(Context& context, const std::function<bool()>& done) {
    if (outer_.get() < 0) {
      outer_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{};
      event.events = EPOLLIN | EPOLLET;
      if (::epoll_ctl(outer_.get(), EPOLL_CTL_ADD, context.pollable_fd(), &event) < 0)
        return ::testing::AssertionFailure();
    }
    while (!done()) {
      epoll_event event{};
      if (::epoll_wait(outer_.get(), &event, 1, 5'000) != 1) return ::testing::AssertionFailure() << "no edge came";
      context.dispatch();
    }
    return ::testing::AssertionSuccess();
  }

 private:
  Fd outer_;
};
ONLOOP_ON_LOOPS(EdgeTriggered, loops_with_fd());

TEST_P(EdgeTriggered, MoreThanOneDispatchReadsComesToItsEnd) {
  Recorder recorder;
  ContextOptions options;
  options.read_buffer = 256;
  Context context{GetParam().make(), options};
  Line line = join(context, recorder);
  ASSERT_TRUE(edges_until(context, [&] { return recorder.opens == 1; }));
  const std::string all = pattern(64 * 1024);
  line.peer.send(all);
  EXPECT_TRUE(edges_until(context, [&] { return recorder.received.size() == all.size(); }));
}

TEST_P(EdgeTriggered, AnEndBehindTheLastBytesIsSeen) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  ASSERT_TRUE(edges_until(context, [&] { return recorder.opens == 1; }));
  line.peer.send("the last");
  line.peer.reset();
  EXPECT_TRUE(edges_until(context, [&] { return recorder.closes == 1; }));
}

TEST_P(EdgeTriggered, TwoMegabytesAreEchoed) {
  Echo echo;
  Recorder client;
  Context context{GetParam().make()};
  const std::string all = pattern(2'000'000);
  client.when_open = [&](Connection& connection) { connection.write(all); };
  context.connect(context.listen("127.0.0.1:0", echo).address().to_string(), client);
  EXPECT_TRUE(edges_until(context, [&] { return client.received.size() == all.size(); }));
}

TEST_P(EdgeTriggered, ManyReadyConnectionsAreAllServed) {
  constexpr int kCount = 300;
  Recorder recorder;
  Context context{GetParam().make()};
  std::vector<Line> lines;
  for (int i = 0; i < kCount; ++i) lines.push_back(join(context, recorder));
  ASSERT_TRUE(edges_until(context, [&] { return recorder.opens == kCount; }));
  for (Line& line : lines) line.peer.send("x");
  EXPECT_TRUE(edges_until(context, [&] { return recorder.received.size() == kCount; }));
}

TEST_P(EdgeTriggered, AWatchThatReadsAByteAtATimeGetsThemAll) {
  Context context{GetParam().make()};
  auto [near, far] = connected_pair(Kind::unix_pair);
  int bytes = 0;
  const Watch watch = context.watch(near.get(), Interest::read, [&, fd = near.get()](Interest) {
    char byte = 0;
    if (::read(fd, &byte, 1) == 1) ++bytes;
  });
  ASSERT_EQ(::write(far.get(), "0123456789", 10), 10);
  EXPECT_TRUE(edges_until(context, [&] { return bytes == 10; }));
}

TEST_P(EdgeTriggered, TasksThatPostAndSlowTasksAllRun) {
  Context context{GetParam().make()};
  int ran = 0;
  std::function<void()> again = [&] {
    const auto end = Clock::now() + 3ms;
    while (Clock::now() < end) {
    }
    if (++ran < 20) context.post([&] { again(); });
  };
  for (int i = 0; i < 6; ++i) context.post([&] { again(); });
  EXPECT_TRUE(edges_until(context, [&] { return ran >= 20; }));
}

TEST_P(EdgeTriggered, TimersComeOneAfterAnother) {
  Context context{GetParam().make()};
  int fired = 0;
  const Timer often = context.every(1ms, [&] { ++fired; });
  const Timer once = context.timer(0ns, [&] { ++fired; });
  EXPECT_TRUE(edges_until(context, [&] { return fired >= 20; }));
}

TEST_P(EdgeTriggered, WhatCameWhileReadingWasPausedIsReadAfterResuming) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  ASSERT_TRUE(edges_until(context, [&] { return recorder.opens == 1; }));
  line.connection.pause_reading();
  line.peer.send("waiting");
  bool looked = false;
  for (int i = 0; i < 3; ++i) {
    looked = false;
    context.post([&] { looked = true; });
    ASSERT_TRUE(edges_until(context, [&] { return looked; }));
  }
  line.connection.resume_reading();
  EXPECT_TRUE(edges_until(context, [&] { return recorder.received == "waiting"; }));
  const Timer pause = context.timer(0ns, [&] { line.connection.pause_reading(); });
  const Timer resume = context.timer(1ms, [&] { line.connection.resume_reading(); });
  line.peer.send(", more");
  EXPECT_TRUE(edges_until(context, [&] { return recorder.received == "waiting, more"; }));
}

TEST_P(EdgeTriggered, AnExceptionOutOfDispatchLeavesTheRestAnnounced) {
  Context context{GetParam().make()};
  int ran = 0;
  context.post([] { throw std::runtime_error("thrown on purpose"); });
  for (int i = 0; i < 3; ++i) context.post([&] { ++ran; });
  const auto done = [&] { return ran == 3; };
  EXPECT_THROW(static_cast<void>(edges_until(context, done)), std::runtime_error);
  EXPECT_TRUE(edges_until(context, done));
}

// dispatch() also works on loops without a descriptor: it does what is due.
class Dispatch : public LoopTest {};
ONLOOP_ON_LOOPS(Dispatch, loops_with_dispatch());

TEST_P(Dispatch, DoesWhatIsDueAndDoesNotBlock) {
  Echo echo;
  Recorder client;
  Context context{GetParam().make()};
  const Timer never = context.timer(1h, [] { FAIL(); });
  client.when_open = [](Connection& connection) { connection.write("hello"); };
  context.connect(context.listen("127.0.0.1:0", echo).address().to_string(), client);
  int fired = 0;
  const Timer timer = context.timer(3ms, [&] { ++fired; });
  EXPECT_TRUE(dispatch_until(context, [&] { return client.received == "hello" && fired == 1; }));
}

}  // namespace
}  // namespace onloop::test
