// Sockets that the application made.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Adopt : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Adopt);

TEST_P(Adopt, ASocketpairOpensLaterAndIsServed) {
  Line line = join(context(), recorder_, {}, Kind::unix_pair);
  EXPECT_EQ(recorder_.calls, 0) << "never inside adopt()";
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  line.connection.set_protocol(echo_);
  line.peer.send("hello");
  EXPECT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.received() == "hello"; }));
}

TEST_P(Adopt, OnOpenComesFirstAlthoughDataAndTheEndAreThere) {
  Recorder recorder;
  int calls_at_open = 0;
  recorder.when_open = [&](Connection&) { calls_at_open = recorder.calls; };
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  line.peer.send("data");
  line.peer.finish();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_EQ(calls_at_open, 1);
  EXPECT_EQ(recorder.opens, 1);
  EXPECT_EQ(recorder.received, "data");
}

TEST_P(Adopt, LeavesTheFlagsOfTheDescriptionAlone) {
  for (const int flag : {0, O_NONBLOCK}) {
    Recorder recorder;
    auto [ours, theirs] = connected_pair(Kind::tcp);
    Peer peer(std::move(theirs));
    const Fd same(::fcntl(ours.get(), F_DUPFD_CLOEXEC, 0));  // shows the flags even after the connection is gone
    ASSERT_EQ(::fcntl(same.get(), F_SETFL, O_RDWR | flag), 0);
    const int before = ::fcntl(same.get(), F_GETFL);
    {
      Context context{GetParam().make()};
      Connection& connection = context.adopt(ours.release(), recorder);
      connection.write("hello");
      peer.send("hello");
      ASSERT_TRUE(run_until(context, [&] { return recorder.received == "hello"; }));
      EXPECT_EQ(::fcntl(same.get(), F_GETFL), before);
    }
    EXPECT_EQ(::fcntl(same.get(), F_GETFL), before);
  }
}

TEST_P(Adopt, ABlockingSocketDoesNotBlockTheLoop) {
  Line line = join(context(), recorder_);
  EXPECT_EQ(::fcntl(line.connection.fd(), F_GETFL) & O_NONBLOCK, 0);
  line.connection.write(pattern(20'000'000));
  EXPECT_GT(line.connection.queued_bytes(), 0u);
  turns(context());
  EXPECT_EQ(recorder_.datas, 0);
  line.peer.send("hello");
  EXPECT_TRUE(run_until(context(), [&] { return line.peer.read(), recorder_.received == "hello"; }));
}

TEST_P(Adopt, TakesTheDescriptor) {
  Recorder recorder;
  Line line = [&] {
    Context context{GetParam().make()};
    Line made = join(context, recorder);
    turns(context);
    return Line{std::move(made.peer), made.connection};
  }();
  EXPECT_TRUE(readable(line.peer.fd(), 1000ms));
  line.peer.read();
  EXPECT_TRUE(line.peer.over()) << "it is closed with the context";
}

TEST_P(Adopt, WhatIsNoConnectedStreamSocketIsRefusedAndStaysTheCallers) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  const Fd pipe_in(pipe_ends[0]);
  const Fd pipe_out(pipe_ends[1]);
  const Fd datagram(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Fd unconnected(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const RawListener listening("127.0.0.1:0");
  const Fd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int refused[] = {pipe_in.get(), datagram.get(), unconnected.get(), listening.socket.get(), file.get()};
  Recorder recorder;
  {
    Context context{GetParam().make()};
    for (const int fd : refused) {
      const Thrown thrown = thrown_by([&]() -> Connection& { return context.adopt(fd, recorder); });
      EXPECT_TRUE(thrown.code) << fd;
      EXPECT_NE(thrown.words.find(std::to_string(fd)), std::string::npos) << "it says which: " << thrown.words;
    }
    turns(context);
  }
  for (const int fd : refused) EXPECT_NE(::fcntl(fd, F_GETFD), -1) << fd << " was closed";
  EXPECT_EQ(recorder.calls, 0);
}

TEST_P(Adopt, ADescriptorThatIsNotOpenIsRefused) {
  for (const int fd : {-1, 9999}) {
    const Thrown thrown = thrown_by([&]() -> Connection& { return context().adopt(fd, recorder_); });
    EXPECT_TRUE(is(thrown.code, std::errc::bad_file_descriptor)) << thrown.words;
  }
}

TEST_P(Adopt, WithLimitsOutOfOrderIsRefusedAndTheDescriptorStaysTheCallers) {
  Recorder recorder;
  auto [ours, theirs] = connected_pair(Kind::tcp);
  {
    Context context{GetParam().make()};
    Limits limits;
    limits.low_water = limits.high_water + 1;
    const int fd = ours.get();
    const Thrown thrown = thrown_by([&]() -> Connection& { return context.adopt(fd, recorder, limits); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
  }
  EXPECT_NE(::fcntl(ours.get(), F_GETFD), -1);
}

TEST_P(Adopt, TheSameDescriptorTwiceIsRefused) {
  Line line = join(context(), recorder_);
  const int fd = line.connection.fd();
  EXPECT_TRUE(thrown_by([&]() -> Connection& { return context().adopt(fd, recorder_); }).code);
  line.peer.send("once");
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.received == "once"; }));
  EXPECT_EQ(recorder_.opens, 1);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST_P(Adopt, WhatWasReadBeforeComesFirst) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Peer peer(std::move(theirs));
  std::string order;
  Recorder recorder;
  recorder.when_open = [&](Connection&) { order += "open "; };
  recorder.when_data = [&](Connection&, std::string_view text) { order += std::string(text) + " "; };
  Context context{GetParam().make()};
  std::string head = "head";
  context.adopt(ours.release(), recorder, {}, bytes_of(head));
  head = "gone";
  peer.send("tail");
  peer.finish();
  EXPECT_EQ(order, "") << "never inside adopt()";
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_EQ(order, "open head tail ");
}

TEST_P(Adopt, WhatWasReadBeforeIsServedWithoutMore) {
  Echo echo;
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Peer peer(std::move(theirs));
  Context context{GetParam().make()};
  context.adopt(ours.release(), echo, {}, bytes_of("hello"));
  ASSERT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; }));
  peer.send(" again");
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello again"; }));
}

TEST_P(Adopt, WhatWasReadBeforeWaitsWhileReadingIsPaused) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Peer peer(std::move(theirs));
  peer.send("tail");
  Recorder recorder;
  recorder.when_open = [](Connection& connection) { connection.pause_reading(); };
  recorder.when_data = [&](Connection& connection, std::string_view text) {
    EXPECT_LE(text.size(), 4u) << "more than the read buffer";
    if (recorder.datas <= 2) connection.pause_reading();
  };
  ContextOptions options;
  options.read_buffer = 4;
  Context context{GetParam().make(), options};
  Connection& connection = context.adopt(ours.release(), recorder, {}, bytes_of("one.two.three"));
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  turns(context);
  EXPECT_EQ(recorder.received, "");
  connection.resume_reading();
  ASSERT_TRUE(run_until(context, [&] { return recorder.datas == 1; }));
  turns(context);
  EXPECT_EQ(recorder.received, "one.");
  connection.resume_reading();
  ASSERT_TRUE(run_until(context, [&] { return recorder.datas == 2; }));
  turns(context);
  EXPECT_EQ(recorder.received, "one.two.");
  connection.resume_reading();
  EXPECT_TRUE(run_until(context, [&] { return recorder.received == "one.two.threetail"; }));
}

TEST_P(Adopt, WhatWasReadBeforeGoesOnAfterACallbackThatMovesTheContext) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  const Peer peer(std::move(theirs));
  Recorder recorder;
  ContextOptions options;
  options.read_buffer = 4;
  Context context{GetParam().make(), options};
  recorder.when_data = [&](Connection&, std::string_view) {
    if (recorder.datas == 2) context.move_to(native());
  };
  context.adopt(ours.release(), recorder, {}, bytes_of("one.two.three"));
  EXPECT_TRUE(run_until(context, [&] { return recorder.received == "one.two.three"; }));
  EXPECT_EQ(recorder.datas, 4);
}

// A turn that an application waits for ends after 8 ms. Each callback takes longer, so each turn delivers one piece.
TEST_P(Adopt, WhatWasReadBeforeDoesNotHoldUpATurn) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  const Peer peer(std::move(theirs));
  Recorder recorder;
  ContextOptions options;
  options.read_buffer = 4;
  Context context{native(), options};
  recorder.when_data = [](Connection&, std::string_view) {
    for (const auto end = Clock::now() + 9ms; Clock::now() < end;) {
    }
  };
  context.adopt(ours.release(), recorder, {}, bytes_of("one.two."));
  static_cast<void>(context.pollable_fd());
  for (int pieces = 1; pieces <= 2; ++pieces) {
    for (int turn = 0; recorder.datas < pieces && turn < 10; ++turn) context.dispatch();
    EXPECT_EQ(recorder.datas, pieces);
  }
  EXPECT_EQ(recorder.received, "one.two.");
}

// In each callback, the test destroys the connection, its protocol or the context.
TEST_P(Adopt, WhatWasReadBeforeGoesWithItsConnection) {
  for (const bool in_open : {true, false}) {
    for (const int what : {0, 1, 2, 3}) {
      auto [ours, theirs] = connected_pair(Kind::tcp);
      ContextOptions options;
      options.read_buffer = 4;
      auto context = std::make_unique<Context>(GetParam().make(), options);
      auto recorder = std::make_unique<Recorder>();
      bool acted = false;
      int datas = 0;
      const auto act = [&](Connection& connection) {
        acted = true;
        if (what == 0) connection.close();
        if (what == 1) connection.abort();
        if (what == 2) recorder.reset();
        if (what == 3) context.reset();
      };
      if (in_open) recorder->when_open = act;
      recorder->when_data = [&](Connection& connection, std::string_view) {
        EXPECT_FALSE(acted);
        ++datas;
        act(connection);
      };
      context->adopt(ours.release(), *recorder, {}, bytes_of("more than one piece"));
      if (what == 3) {
        context->run();
      } else {
        ASSERT_TRUE(run_until(*context, [&] { return acted; }));
        turns(*context);
      }
      EXPECT_EQ(datas, in_open ? 0 : 1);
    }
  }
}

}  // namespace
}  // namespace onloop::test
