// drain(): no new clients, and the end of the old ones, within a limit.
#include "drive.hpp"

namespace onloop::test {
namespace {

class Drain : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(Drain);

TEST_P(Drain, IsDoneWhenTheLastConnectionIsOver) {
  Recorder recorder;
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", recorder);
  const Address address = listener.address();
  Peer first = Peer::connect_to(address);
  Peer second = Peer::connect_to(address);
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 2; }));
  int closes_at_done = -1;
  context.drain(1h, [&] { closes_at_done = recorder.closes; });
  EXPECT_TRUE(is(thrown_by([&] { return Peer::connect_to(address); }).code, std::errc::connection_refused));
  first.close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  turns(context);
  EXPECT_EQ(closes_at_done, -1) << "one is left";
  second.send("still served");
  ASSERT_TRUE(run_until(context, [&] { return recorder.received == "still served"; }));
  second.close();
  ASSERT_TRUE(run_until(context, [&] { return closes_at_done >= 0; }));
  EXPECT_EQ(closes_at_done, 2);
}

// Their connection is complete: closing the listener would reset them.
TEST_P(Drain, ServesThoseThatWaitToBeAccepted) {
  Recorder recorder;
  recorder.when_data = [](Connection& connection, std::string_view data) {
    connection.write(data);
    connection.close();
  };
  Context context{GetParam().make()};
  const Address address = context.listen("127.0.0.1:0", recorder).address();
  std::vector<Peer> clients;
  for (int i = 0; i < 100; ++i) clients.push_back(Peer::connect_to(address));
  for (Peer& client : clients) client.send("hello");
  bool done = false;
  context.drain(1h, [&] { done = true; });
  EXPECT_EQ(recorder.opens, 0) << "never inside drain()";
  ASSERT_TRUE(run_until(context, [&] {
    for (Peer& client : clients) {
      client.read();
      if (client.over()) client.close();
    }
    return done;
  }));
  EXPECT_EQ(recorder.opens, 100);
  for (const Peer& client : clients) EXPECT_EQ(client.received(), "hello");
}

TEST_P(Drain, ItsOnAcceptMayCloseTheListenerOrDestroyTheContext) {
  for (const bool destroys : {false, true}) {
    Recorder recorder;
    auto context = std::make_unique<Context>(GetParam().make());
    Listener& listener = context->listen("127.0.0.1:0", recorder);
    const Peer first = Peer::connect_to(listener.address());
    const Peer second = Peer::connect_to(listener.address());
    recorder.when_accept = [&](const Address&) {
      destroys ? context.reset() : listener.close();
      return true;
    };
    Context& draining = *context;
    draining.drain(1h);
    EXPECT_EQ(recorder.opens, 0);
  }
}

TEST_P(Drain, AtTheLimitAbortsThoseThatAreLeft) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line first = join(context, recorder);
  Line second = join(context, recorder);
  turns(context);
  bool done = false;
  const auto start = Clock::now();
  context.drain(20ms, [&] { done = true; });
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  EXPECT_GE(Clock::now() - start, 20ms);
  ASSERT_EQ(recorder.closes, 2);
  for (const std::error_code error : recorder.errors) EXPECT_TRUE(is(error, std::errc::timed_out)) << error.message();
  for (Peer* peer : {&first.peer, &second.peer}) {
    EXPECT_TRUE(run_until(context, [&] { return peer->read(), peer->over(); }));
    EXPECT_EQ(peer->error(), ECONNRESET);
  }
}

TEST_P(Drain, WithoutConnectionsIsDoneInALaterTurn) {
  Context context{GetParam().make()};
  bool done = false;
  context.drain(1h, [&] { done = true; });
  EXPECT_FALSE(done) << "never inside drain()";
  EXPECT_TRUE(run_until(context, [&] { return done; }));
}

TEST_P(Drain, WithNoTimeLeftAbortsInALaterTurn) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  bool done = false;
  context.drain(0ns, [&] { done = true; });
  EXPECT_EQ(recorder.closes, 0);
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  EXPECT_EQ(recorder.closes, 1);
}

TEST_P(Drain, WaitsForAConnectionThatLingers) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  turns(context);
  line.connection.write(pattern(8'000'000));
  line.connection.close();
  bool done = false;
  context.drain(1h, [&] { done = true; });
  turns(context);
  EXPECT_FALSE(done);
  std::size_t at_done = 0;
  ASSERT_TRUE(run_until(context, [&] {
    line.peer.read();
    at_done = line.peer.received().size();
    if (line.peer.over()) line.peer.close();
    return done;
  }));
  EXPECT_EQ(at_done, 8'000'000u);
}

TEST_P(Drain, CountsAConnectionThatIsConnecting) {
  const FullListener full;
  Recorder recorder;
  Context context{GetParam().make()};
  context.connect(full.listener.address.to_string(), recorder);
  bool done = false;
  context.drain(20ms, [&] { done = true; });
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  ASSERT_EQ(recorder.closes, 1);
  EXPECT_EQ(recorder.opens, 0);
  EXPECT_TRUE(is(recorder.errors[0], std::errc::timed_out)) << recorder.errors[0].message();
}

TEST_P(Drain, WithoutATaskDrainsAllTheSame) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  context.drain(10ms);
  EXPECT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
}

TEST_P(Drain, TwiceIsRefused) {
  Context context{GetParam().make()};
  int done = 0;
  context.drain(1h, [&] { ++done; });
  const auto again = [&] {
    context.drain(1h, [&] { ++done; });
    return 0;
  };
  EXPECT_TRUE(is(thrown_by(again).code, std::errc::connection_already_in_progress));
  ASSERT_TRUE(run_until(context, [&] { return done > 0; }));
  EXPECT_TRUE(is(thrown_by(again).code, std::errc::connection_already_in_progress));
  turns(context);
  EXPECT_EQ(done, 1);
}

}  // namespace
}  // namespace onloop::test
