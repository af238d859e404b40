// drain(): the context accepts no new clients, and the old clients end within a limit.
#include "drive.hpp"

namespace onloop::test {
namespace {

class Drain : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Drain);

TEST_P(Drain, IsDoneWhenTheLastConnectionIsOver) {
  const Listener& listener = context().listen(address_of_our_own(), recorder_);
  const Address address = listener.address();
  Peer first = Peer::connect_to(address);
  Peer second = Peer::connect_to(address);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 2; }));
  int closes_at_done = -1;
  context().drain(1h, [&] { closes_at_done = recorder_.closes; });
  EXPECT_TRUE(is(thrown_by([&] { return Peer::connect_to(address); }).code, std::errc::connection_refused));
  first.close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  turns(context());
  EXPECT_EQ(closes_at_done, -1) << "one is left";
  second.send("still served");
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.received == "still served"; }));
  second.close();
  ASSERT_TRUE(run_until(context(), [&] { return closes_at_done >= 0; }));
  EXPECT_EQ(closes_at_done, 2);
}

// The connections of these clients are complete. If the listener closed without accepting them, they would be reset.
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

// The socket was made by somebody else, so its backlog is not the one in ListenOptions.
TEST_P(Drain, ServesThoseThatWaitAtAnInheritedSocketOfALargerBacklog) {
  const TemporaryDirectory directory;
  for (const std::string& where : {std::string("127.0.0.1:0"), "unix:" + directory.file("socket")}) {
    Recorder recorder;
    recorder.when_open = [&](Connection& connection) { connection.close(); };
    RawListener raw(where, 64);
    Context context{GetParam().make()};
    ListenOptions few;
    few.backlog = 1;
    context.listen("fd:" + std::to_string(raw.socket.release()), recorder, few);
    std::vector<Peer> clients;
    for (int i = 0; i < 50; ++i) clients.push_back(Peer::connect_to(raw.address));
    bool done = false;
    context.drain(1h, [&] { done = true; });
    clients.clear();
    ASSERT_TRUE(run_until(context, [&] { return done; }));
    EXPECT_EQ(recorder.opens, 50) << where;
  }
}

// on_accept takes longer than a turn may take (8 ms), so each turn accepts one client.
TEST_P(Drain, AcceptsThoseThatWaitInSeveralTurnsIfTheyTakeLong) {
  const TemporaryDirectory directory;
  for (const std::string& where : {address_of_our_own(), "unix:" + directory.file("socket")}) {
    Recorder recorder;
    recorder.when_accept = [](const Address&) {
      for (const auto end = Clock::now() + 9ms; Clock::now() < end;) {
      }
      return true;
    };
    recorder.when_open = [&](Connection& connection) { connection.close(); };
    Context context{GetParam().make()};
    const Address address = context.listen(where, recorder).address();
    std::vector<Peer> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(Peer::connect_to(address));
    int opens_at_done = -1;
    context.drain(1h, [&] { opens_at_done = recorder.opens; });
    EXPECT_EQ(recorder.accepts, 1);
    clients.clear();
    ASSERT_TRUE(run_until(context, [&] { return opens_at_done >= 0; }));
    EXPECT_EQ(opens_at_done, 4);
    EXPECT_TRUE(thrown_by([&] { return Peer::connect_to(address); }).code) << "it does not listen any more";
  }
}

TEST_P(Drain, AtTheLimitClosesAListenerThatStillAccepts) {
  Recorder recorder;
  recorder.when_accept = [](const Address&) {
    for (const auto end = Clock::now() + 9ms; Clock::now() < end;) {
    }
    return true;
  };
  Context context{GetParam().make()};
  const Address address = context.listen("127.0.0.1:0", recorder).address();
  std::vector<Peer> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(Peer::connect_to(address));
  bool done = false;
  context.drain(10ms, [&] { done = true; });
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  EXPECT_LT(recorder.accepts, 50);
  EXPECT_EQ(context.statistics().connections, 0u);
  for (Peer& client : clients) {
    EXPECT_TRUE(run_until(context, [&] { return client.read(), client.over(); }));
  }
}

// These clients are turned away like the clients of a listener that is not paused. They are not reset.
TEST_P(Drain, OutOfDescriptorsTurnsAwayThoseThatWaitAtAPausedListener) {
  Recorder recorder;
  int errors = 0;
  ContextOptions options;
  options.on_error = [&](std::error_code, std::string_view) { ++errors; };
  Context context{GetParam().make(), options};
  Listener& listener = context.listen("127.0.0.1:0", recorder);
  listener.pause();
  turns(context);
  std::vector<Peer> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(Peer::connect_to(listener.address()));
  bool done = false;
  {
    const DescriptorsLeft none(0);
    context.drain(1h, [&] { done = true; });
    EXPECT_EQ(context.statistics().turned_away, 5u);
    ASSERT_TRUE(run_until(context, [&] { return done; }));
  }
  EXPECT_EQ(errors, 1);
  for (Peer& client : clients) {
    EXPECT_TRUE(run_until(context, [&] { return client.read(), client.over(); }));
    EXPECT_EQ(client.error(), 0) << "an end, not a reset";
  }
}

// The listener that is drained is the one that has just accepted the client.
TEST_P(Drain, MayBeCalledInOnOpenWhileOthersWait) {
  Recorder recorder;
  Context context{GetParam().make()};
  bool done = false;
  recorder.when_open = [&](Connection& connection) {
    connection.close();
    if (recorder.opens == 1) context.drain(1h, [&] { done = true; });
  };
  const Address address = context.listen("127.0.0.1:0", recorder).address();
  std::vector<Peer> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(Peer::connect_to(address));
  clients.clear();
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  EXPECT_EQ(recorder.opens, 5);
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
  Line first = join(context(), recorder_);
  Line second = join(context(), recorder_);
  turns(context());
  bool done = false;
  const auto start = Clock::now();
  context().drain(20ms, [&] { done = true; });
  ASSERT_TRUE(run_until(context(), [&] { return done; }));
  EXPECT_GE(Clock::now() - start, 20ms);
  ASSERT_EQ(recorder_.closes, 2);
  for (const std::error_code error : recorder_.errors) EXPECT_TRUE(is(error, std::errc::timed_out)) << error.message();
  for (Peer* peer : {&first.peer, &second.peer}) {
    EXPECT_TRUE(run_until(context(), [&] { return peer->read(), peer->over(); }));
    EXPECT_EQ(peer->error(), ECONNRESET);
  }
}

TEST_P(Drain, WithoutConnectionsIsDoneInALaterTurn) {
  bool done = false;
  context().drain(1h, [&] { done = true; });
  EXPECT_FALSE(done) << "never inside drain()";
  EXPECT_TRUE(run_until(context(), [&] { return done; }));
}

TEST_P(Drain, WithNoTimeLeftAbortsInALaterTurn) {
  Line line = join(context(), recorder_);
  bool done = false;
  context().drain(0ns, [&] { done = true; });
  EXPECT_EQ(recorder_.closes, 0);
  ASSERT_TRUE(run_until(context(), [&] { return done; }));
  EXPECT_EQ(recorder_.closes, 1);
}

TEST_P(Drain, WaitsForAConnectionThatLingers) {
  Line line = join(context(), recorder_);
  turns(context());
  line.connection.write(pattern(8'000'000));
  line.connection.close();
  bool done = false;
  context().drain(1h, [&] { done = true; });
  turns(context());
  EXPECT_FALSE(done);
  std::size_t at_done = 0;
  ASSERT_TRUE(run_until(context(), [&] {
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
  Line line = join(context(), recorder_);
  context().drain(10ms);
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
}

TEST_P(Drain, TwiceIsRefused) {
  int done = 0;
  context().drain(1h, [&] { ++done; });
  const auto again = [&] {
    context().drain(1h, [&] { ++done; });
    return 0;
  };
  EXPECT_TRUE(is(thrown_by(again).code, std::errc::connection_already_in_progress));
  ASSERT_TRUE(run_until(context(), [&] { return done > 0; }));
  EXPECT_TRUE(is(thrown_by(again).code, std::errc::connection_already_in_progress));
  turns(context());
  EXPECT_EQ(done, 1);
}

TEST_P(Drain, OfSomeListenersLeavesTheOthersAlone) {
  Recorder going;
  Recorder staying;
  Context context{GetParam().make()};
  Listener& first = context.listen(address_of_our_own(), going);
  Listener& second = context.listen(address_of_our_own(), going);
  Listener& other = context.listen("127.0.0.1:0", staying);
  const std::vector<Address> addresses{first.address(), second.address()};
  std::vector<Peer> clients;
  for (Address address : {first.address(), second.address(), other.address()}) {
    clients.push_back(Peer::connect_to(address));
  }
  ASSERT_TRUE(run_until(context, [&] { return going.opens == 2 && staying.opens == 1; }));
  int closes_at_done = -1;
  const std::vector<Listener*> some{&first, &second};
  context.drain(some, 1h, [&] { closes_at_done = going.closes; });
  for (const Address& address : addresses) {
    EXPECT_TRUE(is(thrown_by([&] { return Peer::connect_to(address); }).code, std::errc::connection_refused));
  }
  clients[0].close();
  ASSERT_TRUE(run_until(context, [&] { return going.closes == 1; }));
  turns(context);
  EXPECT_EQ(closes_at_done, -1) << "one is left";
  clients[1].close();
  ASSERT_TRUE(run_until(context, [&] { return closes_at_done >= 0; }));
  EXPECT_EQ(closes_at_done, 2);
  EXPECT_EQ(staying.closes, 0);
  const Peer late = Peer::connect_to(other.address());
  ASSERT_TRUE(run_until(context, [&] { return staying.opens == 2; }));
  bool all = false;
  context.drain(1h, [&] { all = true; });
  clients.clear();
  ASSERT_TRUE(run_until(context, [&] { return staying.closes == 1; }));
  EXPECT_FALSE(all);
}

TEST_P(Drain, OfAListenerThatDrainsIsRefused) {
  Recorder recorder;
  Context context{GetParam().make()};
  Listener& listener = context.listen("127.0.0.1:0", recorder);
  const WeakListener weak = listener.ref();
  const Peer client = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  recorder.when_accept = [&](const Address&) {
    Listener* const one[] = {weak.get()};
    const auto again = [&] { context.drain(one, 1h, [] { ADD_FAILURE(); }); };
    EXPECT_TRUE(is(thrown_by(again).code, std::errc::connection_already_in_progress));
    return true;
  };
  const Peer waiting = Peer::connect_to(listener.address());
  Listener* const one[] = {&listener};
  context.drain(one, 1h, [] { ADD_FAILURE() << "two connections are open"; });
  EXPECT_EQ(recorder.accepts, 2);
  turns(context);
}

TEST_P(Drain, OfSomeListenersAbortsTheirConnectionsAtTheLimit) {
  Recorder going;
  Recorder staying;
  Context context{GetParam().make()};
  Listener& listener = context.listen("127.0.0.1:0", going);
  const Line line = join(context, staying);
  const Peer client = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context, [&] { return going.opens == 1 && staying.opens == 1; }));
  bool done = false;
  Listener* const one[] = {&listener};
  context.drain(one, 10ms, [&] { done = true; });
  ASSERT_TRUE(run_until(context, [&] { return done; }));
  ASSERT_EQ(going.closes, 1);
  EXPECT_TRUE(is(going.errors[0], std::errc::timed_out)) << going.errors[0].message();
  EXPECT_EQ(staying.closes, 0);
}

TEST_P(Drain, OfListenersWithoutConnectionsIsDoneLater) {
  Listener& listener = context().listen("127.0.0.1:0", recorder_);
  int done = 0;
  const std::vector<Listener*> twice{&listener, &listener};
  context().drain(twice, 1h, [&] { ++done; });
  context().drain(std::span<Listener* const>(), 1h, [&] { ++done; });
  EXPECT_EQ(done, 0) << "never inside drain()";
  ASSERT_TRUE(run_until(context(), [&] { return done == 2; }));
  turns(context());
  EXPECT_EQ(done, 2);
}

TEST_P(Drain, OfSomeListenersEndsWithTheContext) {
  Recorder recorder;
  Peer client;
  {
    Context context{GetParam().make()};
    Listener& listener = context.listen("127.0.0.1:0", recorder);
    client = Peer::connect_to(listener.address());
    ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
    Listener* const one[] = {&listener};
    context.drain(one, 1h, [] { ADD_FAILURE(); });
  }
  EXPECT_EQ(recorder.closes, 0);
}

TEST_P(Drain, OfNoListenerOrOneOfAnotherContextIsRefused) {
  Recorder recorder;
  Context context{GetParam().make()};
  Context other{GetParam().make()};
  Listener& mine = context.listen("127.0.0.1:0", recorder);
  Listener& others = other.listen("127.0.0.1:0", recorder);
  for (Listener* wrong : {static_cast<Listener*>(nullptr), &others}) {
    const std::vector<Listener*> both{&mine, wrong};
    const Thrown thrown = thrown_by([&] { return context.drain(both, 1h), 0; });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
  }
  const Peer client = Peer::connect_to(mine.address());
  EXPECT_TRUE(run_until(context, [&] { return recorder.opens == 1; })) << "nothing was closed";
}

}  // namespace
}  // namespace onloop::test
