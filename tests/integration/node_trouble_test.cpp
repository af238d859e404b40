// onloop::node in difficult situations: exceptions, the end of the context, nested iterations of the loop, moves,
// forks, threads, and the own loop of an application.
#include <stdexcept>
#include <thread>

#include "node_drive.hpp"
#include "support/scripted_loop.hpp"

namespace onloop::test {
namespace {

class NodeTrouble : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(NodeTrouble);
class NodeNested : public ContextTest {};
ONLOOP_ON_LOOPS(NodeNested, loops_with_dispatch());

/// run() until it returns without an exception; counts the exceptions.
int run_through_exceptions(Context& context) {
  for (int thrown = 0;; ++thrown) {
    try {
      run_to_the_end(context);
      return thrown;
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "thrown by a callback");
    }
  }
}

[[noreturn]] void fail_loudly() {
  throw std::runtime_error("thrown by a callback");
}

// ---- exceptions ----

TEST_P(NodeTrouble, WhatACallbackQueuedBeforeItThrewIsRunLater) {
  Notes notes;
  node::set_timeout(context(), [&] {
    node::next_tick(context(), notes("tick"));
    node::queue_microtask(context(), notes("microtask"));
    node::set_immediate(context(), notes("immediate"));
    fail_loudly();
  });
  EXPECT_EQ(run_through_exceptions(context()), 1);
  EXPECT_EQ(notes.words, "tick microtask immediate ");
}

TEST_P(NodeTrouble, ATickThatThrowsTakesNoOtherWithIt) {
  Notes notes;
  node::set_immediate(context(), [&] {
    node::next_tick(context(), fail_loudly);
    node::next_tick(context(), notes("tick"));
    node::queue_microtask(context(), fail_loudly);
    node::queue_microtask(context(), notes("microtask"));
  });
  node::set_immediate(context(), notes("immediate"));
  EXPECT_EQ(run_through_exceptions(context()), 2);
  EXPECT_EQ(notes.words, "tick microtask immediate ");
}

TEST_P(NodeTrouble, AnImmediateThatThrowsTakesNoOtherWithIt) {
  Notes notes;
  node::set_immediate(context(), fail_loudly);
  node::set_immediate(context(), notes("immediate"));
  EXPECT_EQ(run_through_exceptions(context()), 1);
  EXPECT_EQ(notes.words, "immediate ");
}

TEST_P(NodeTrouble, AnIntervalThatThrowsGoesOn) {
  int ran = 0;
  node::Timeout interval;
  interval = node::set_interval(
      context(),
      [&] {
        if (++ran == 3) interval.clear();
        fail_loudly();
      },
      1ms);
  EXPECT_EQ(run_through_exceptions(context()), 3);
}

TEST_P(NodeTrouble, ACloseListenerThatThrowsTakesNoOtherSocketsWithIt) {
  Notes notes;
  const RefusedPort nobody;
  const node::Socket first = node::connect(context(), nobody.address.port());
  const node::Socket second = node::connect(context(), nobody.address.port());
  const auto owned = flag();
  first.on_close([owned, first] { fail_loudly(); });
  second.on_close(notes("close"));
  first.destroy();
  second.destroy();
  EXPECT_EQ(run_through_exceptions(context()), 1);
  EXPECT_EQ(notes.words, "close ");
  EXPECT_EQ(owned.use_count(), 1);
}

// Before a callback, the queued tasks run that were queued outside the layer. If such a task throws, the callback must
// still come.
TEST_P(NodeTrouble, DataIsNotLostWhenWhatComesBeforeItThrows) {
  std::string received;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([&, socket](std::string_view data) {
      received += data;
      if (received.size() < 20) socket.write(data);
    });
  });
  const node::Socket client = node::connect(context(), server.address().port());
  client.on_data([&, client](std::string_view data) {
    received += data;
    received.size() < 20 ? (void)client.write(data) : client.end();
  });
  const Timer plain = context().every(1ns, [&] { node::next_tick(context(), fail_loudly); });
  client.write("x");
  EXPECT_GT(run_through_exceptions(context()), 0);
  EXPECT_EQ(received, std::string(20, 'x'));
}

// ---- the context goes ----

TEST_P(NodeTrouble, WithTheContextEverythingPendingIsDroppedAndHandlesAreInert) {
  const auto owned = flag();
  node::Timeout timeout;
  node::Immediate immediate;
  node::Server server;
  node::Socket socket;
  std::unique_ptr<Task> awaited;
  {
    Context context{GetParam().make()};
    timeout = node::set_timeout(
        context, [owned] { FAIL(); }, 1h);
    node::set_interval(
        context, [owned] { FAIL(); }, 1h);
    immediate = node::set_immediate(context, [owned] { FAIL(); });
    node::next_tick(context, [owned] { FAIL(); });
    node::queue_microtask(context, [owned] { FAIL(); });
    server = node::create_server(context, [owned](const node::Socket&) { FAIL(); });
    server.listen(0, [owned] { FAIL(); });
    socket = node::connect(context, server.address().port(), [owned] { FAIL(); });
    socket.on_close([socket, owned] { FAIL(); });
    const node::Socket destroyed = node::connect(context, server.address().port());
    destroyed.on_close([destroyed, owned] { FAIL(); });
    destroyed.destroy(std::make_error_code(std::errc::bad_message));
    awaited = std::make_unique<Task>(node::callback(context, [] { FAIL(); }));
    EXPECT_EQ(owned.use_count(), 11);
  }
  EXPECT_EQ(owned.use_count(), 1);
  timeout.clear();
  timeout.refresh();
  timeout.ref();
  timeout.unref();
  immediate.clear();
  immediate.ref();
  immediate.unref();
  EXPECT_EQ(server.address(), Address());
  EXPECT_FALSE(server.listening());
  server.on_close([] { FAIL(); });
  server.close([] { FAIL(); });
  server.get_connections([](std::error_code, std::size_t) { FAIL(); });
  server.ref();
  server.unref();
  EXPECT_TRUE(is(thrown_by([&] { return server.listen(0), 0; }).code, std::errc::invalid_argument));
  EXPECT_TRUE(socket.destroyed());
  EXPECT_FALSE(socket.write("x"));
  socket.on_data([](std::string_view) { FAIL(); });
  socket.set_timeout(1ms);
  socket.resume();
  socket.end();
  socket.destroy();
  (*awaited)();
}

TEST_P(NodeTrouble, WhatIsDroppedMayCallTheLayerAsItGoes) {
  struct Last {
    explicit Last(Context& to) : context(&to), socket(node::connect(to, RefusedPort{}.address.port())) {
      socket.on_close([] { FAIL(); });
    }
    Last(Last&& other) noexcept : context(std::exchange(other.context, nullptr)), socket(other.socket) {}
    ~Last() {
      if (!context) return;
      socket.destroy();
      node::next_tick(*context, [] { FAIL(); });
      node::set_immediate(*context, [] { FAIL(); });
      node::set_timeout(*context, [] { FAIL(); }).refresh();
      node::connect(*context, 1).on_close([] { FAIL(); });
      node::callback(*context, [] { FAIL(); })();
      const node::Server server = node::create_server(*context);
      EXPECT_TRUE(is(thrown_by([&] { return server.listen(0), 0; }).code, std::errc::invalid_argument));
    }
    Context* context;
    node::Socket socket;
  };
  Context context{GetParam().make()};
  node::set_timeout(
      context, [last = Last(context)] { FAIL(); }, 1h);
  node::set_immediate(context, [last = Last(context)] { FAIL(); });
  node::next_tick(context, [last = Last(context)] { FAIL(); });
  node::queue_microtask(context, [last = Last(context)] { FAIL(); });
  const node::Socket socket = node::connect(context, RefusedPort{}.address.port());
  socket.on_close([socket, last = std::make_shared<Last>(context)] { FAIL(); });
}

/// Destroys the context in one kind of callback, while the others are due as well.
TEST_P(NodeTrouble, ItMayBeDestroyedInEachKindOfCallback) {
  for (int kind = 0; kind < 12; ++kind) {
    auto context = std::make_unique<Context>(GetParam().make());
    bool gone = false;
    const auto at = [&](int which) {
      return [&, which] {
        EXPECT_FALSE(gone) << "a call after the context, in kind " << which << " after " << kind;
        if (which != kind) return;
        gone = true;
        context.reset();
      };
    };
    node::Socket accepted;
    const node::Server server = node::create_server(*context, [&, reset = at(3)](const node::Socket& socket) {
      accepted = socket;
      socket.on_data([&, reset = at(4), socket](std::string_view) {
        reset();
        socket.write("answer");
      });
      socket.on_data([reset = at(5)](std::string_view) { reset(); });
      socket.on_end(at(6));
      socket.on_close(at(7));
      reset();
    });
    server.listen(0, at(2));
    server.on_close(at(8));
    const node::Socket client = node::connect(*context, server.address().port());
    client.on_connect([&, reset = at(9)] {
      reset();
      if (!gone) node::set_immediate(*context, at(10));
    });
    client.on_data([&, client](std::string_view) {
      client.end();
      server.close();
    });
    client.on_error([](std::error_code) {});
    client.on_close(at(11));
    client.write("data");
    node::next_tick(*context, at(0));
    node::queue_microtask(*context, at(1));
    node::set_timeout(*context, [] {});
    context->run();
    EXPECT_TRUE(gone) << kind;
  }
}

// ---- nested iterations of the loop ----

TEST_P(NodeNested, TheQueuesGoOnInsideACallbackThatIteratesTheLoop) {
  Notes notes;
  node::set_immediate(context(), [&] {
    bool inner_done = false;
    bool plain_done = false;
    node::next_tick(context(), notes("outer"));
    node::set_timeout(context(), [&] {
      notes("timeout")();
      node::next_tick(context(), notes("inner"));
      node::set_immediate(context(), [&] { inner_done = true; });
    });
    while (!inner_done) context().dispatch();
    const Timer plain = context().timer(0ns, [&] { node::next_tick(context(), [&] { plain_done = true; }); });
    while (!plain_done) context().dispatch();
    notes("body")();
    node::next_tick(context(), notes("last"));
  });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "outer timeout inner body last ");
}

TEST_P(NodeNested, ATickThatIteratesTheLoopKeepsNoOtherWaiting) {
  Notes notes;
  bool done = false;
  node::set_immediate(context(), [&] {
    node::next_tick(context(), [&] {
      node::set_immediate(context(), [&] { done = true; });
      while (!done) context().dispatch();
      notes("first")();
    });
    node::next_tick(context(), notes("second"));
  });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "second first ");
}

TEST_P(NodeNested, AnIntervalIsNotReentered) {
  int ran = 0;
  bool inside = false;
  node::Timeout interval;
  interval = node::set_interval(
      context(),
      [&] {
        EXPECT_FALSE(inside);
        inside = true;
        for (int i = 0; i < 5; ++i) context().dispatch();
        inside = false;
        if (++ran == 3) interval.clear();
      },
      0ms);
  run_to_the_end(context());
  EXPECT_EQ(ran, 3);
}

// ---- to another loop ----

TEST_P(NodeTrouble, EverythingPendingComesAlongToAnotherLoop) {
  for (const LoopCase& next : all_loops()) {
    Context context{GetParam().make()};
    Notes notes;
    std::string received;
    bool timed_out = false;
    const node::Server server = serve_one(context, [&](const node::Socket& socket) {
      socket.on_data([socket](std::string_view data) { socket.write(data); });
    });
    const node::Socket client = node::connect(context, server.address().port());
    client.on_data([&](std::string_view data) { received += data; });
    client.on_connect([&, client] {
      context.move_to(next.make());
      node::next_tick(context, notes("tick"));
      node::queue_microtask(context, notes("microtask"));
      node::set_immediate(context, [&, client] {
        notes("immediate")();
        client.end("over there");
      });
      node::set_timeout(context, [&] { timed_out = true; });
    });
    run_to_the_end(context);
    EXPECT_EQ(notes.words, "tick microtask immediate ");
    EXPECT_EQ(received, "over there") << next.name;
    EXPECT_TRUE(timed_out);
  }
}

TEST_P(NodeTrouble, AMoveInEachPhaseLosesNothing) {
  const Loop home = context().loop();
  Notes notes;
  bool away = false;
  const auto moving = [&](std::string_view word) {
    return [&, word] {
      notes(word)();
      away = !away;
      context().move_to(away ? native().aggregate() : home);
    };
  };
  node::next_tick(context(), moving("tick"));
  node::next_tick(context(), moving("tick"));
  node::queue_microtask(context(), moving("microtask"));
  node::queue_microtask(context(), moving("microtask"));
  node::set_immediate(context(), moving("immediate"));
  node::set_immediate(context(), moving("immediate"));
  for (int i = 0; i < 2; ++i) {
    const node::Socket socket = node::connect(context(), RefusedPort{}.address.port());
    socket.on_close(moving("close"));
    socket.destroy();
  }
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick tick microtask microtask immediate immediate close close ");
}

TEST_P(NodeTrouble, InAForkedChildItGoesOnOnALoopOfTheChilds) {
  Context context{GetParam().make()};
  Notes notes;
  node::set_immediate(context, [&] {
    notes("immediate")();
    node::set_timeout(context, notes("timeout"), 1ms);
  });
  const node::Timeout timeout = node::set_timeout(
      context, [] { FAIL(); }, 1h);
  node::next_tick(context, [&, timeout] {
    notes("tick")();
    timeout.clear();
  });
  EXPECT_TRUE(in_child([&] {
    context.after_fork(GetParam().make());
    run_to_the_end(context);
    EXPECT_EQ(notes.words, "tick immediate timeout ");
  }));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick immediate timeout ");
}

TEST_P(NodeTrouble, AnotherThreadIsRefusedWhileTheContextRuns) {
  const node::Server server = node::create_server(context());
  const node::Timeout timeout = node::set_timeout(
      context(), [] { FAIL(); }, 1h);
  std::vector<std::error_code> codes;
  node::set_immediate(context(), [&] {
    std::thread([&] {
      codes.push_back(thrown_by([&] { return node::set_timeout(context(), [] {}); }).code);
      codes.push_back(thrown_by([&] { return node::set_immediate(context(), [] {}); }).code);
      codes.push_back(thrown_by([&] { return node::next_tick(context(), [] {}), 0; }).code);
      codes.push_back(thrown_by([&] { return node::queue_microtask(context(), [] {}), 0; }).code);
      codes.push_back(thrown_by([&] { return node::create_server(context()); }).code);
      codes.push_back(thrown_by([&] { return node::connect(context(), 1); }).code);
      codes.push_back(thrown_by([&] { return node::callback(context(), [] {}); }).code);
      codes.push_back(thrown_by([&] { return server.listen(0), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.unref(), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.refresh(), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.clear(), 0; }).code);
      codes.push_back(thrown_by([&] { return server.close(), 0; }).code);
      codes.push_back(thrown_by([&] { return server.on_close([] {}), 0; }).code);
    }).join();
    timeout.clear();
  });
  run_to_the_end(context());
  EXPECT_EQ(codes.size(), 13u);
  for (const std::error_code& code : codes) {
    EXPECT_TRUE(is(code, std::errc::operation_not_permitted)) << code.message();
  }
}

TEST_P(NodeTrouble, WhatATaskBeginsAfterAllWasOverKeepsItRunning) {
  Notes notes;
  node::next_tick(context(), notes("tick"));
  context().post([&] { node::set_timeout(context(), notes("timeout"), 1ms); });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick timeout ");
}

// ---- an application's loop ----

class NodeOnForeignLoop : public CleanTest {};

TEST_F(NodeOnForeignLoop, WhatIsLeftCountsForALoopThatCounts) {
  for (const bool aggregate : {false, true}) {
    Script script;
    Context context{aggregate ? script.foreign().aggregate() : script.foreign()};
    EXPECT_TRUE(script.kept_alive()) << "without the layer";
    bool ran = false;
    node::set_timeout(
        context, [&] { ran = true; }, 1ms);
    while (script.kept_alive()) script.run_once(1ms);
    EXPECT_TRUE(ran);
    node::next_tick(context, [&] { ran = false; });
    EXPECT_TRUE(script.kept_alive());
    while (script.kept_alive()) script.run_once(1ms);
    EXPECT_FALSE(ran);
  }
}

TEST_F(NodeOnForeignLoop, WhatATickThrowsGoesWhereAnyExceptionGoes) {
  Script script;
  int thrown = 0;
  ContextOptions options;
  options.on_exception = [&](const std::exception_ptr&) { ++thrown; };
  Context context{script.foreign(), options};
  bool ran = false;
  node::next_tick(context, fail_loudly);
  node::next_tick(context, [&] { ran = true; });
  node::set_immediate(context, fail_loudly);
  while (script.kept_alive()) script.run_once(1ms);
  EXPECT_EQ(thrown, 2);
  EXPECT_TRUE(ran);
}

TEST_F(NodeOnForeignLoop, AContextThatIsDrivenByDispatchHasItsTurns) {
  Context context{native()};
  Notes notes;
  node::set_timeout(context, notes("timeout"));
  node::set_immediate(context, notes("immediate"));
  node::next_tick(context, notes("tick"));
  EXPECT_TRUE(dispatch_until(context, [&] { return notes.words == "tick timeout immediate "; })) << notes.words;
}

}  // namespace
}  // namespace onloop::test
