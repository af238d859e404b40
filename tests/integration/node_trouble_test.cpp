// Node's shape where things go wrong or elsewhere: exceptions, the end of the context, nested iterations of the loop,
// moves, forks, threads, an application's own loop.
#include <stdexcept>
#include <thread>

#include "node_drive.hpp"
#include "support/scripted_loop.hpp"

namespace onloop::test {
namespace {

class NodeTrouble : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(NodeTrouble);
class NodeNested : public LoopTest {};
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
  Context context{GetParam().make()};
  Notes notes;
  net::set_timeout(context, [&] {
    net::next_tick(context, notes("tick"));
    net::queue_microtask(context, notes("microtask"));
    net::set_immediate(context, notes("immediate"));
    fail_loudly();
  });
  EXPECT_EQ(run_through_exceptions(context), 1);
  EXPECT_EQ(notes.words, "tick microtask immediate ");
}

TEST_P(NodeTrouble, ATickThatThrowsTakesNoOtherWithIt) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, [&] {
    net::next_tick(context, fail_loudly);
    net::next_tick(context, notes("tick"));
    net::queue_microtask(context, fail_loudly);
    net::queue_microtask(context, notes("microtask"));
  });
  net::set_immediate(context, notes("immediate"));
  EXPECT_EQ(run_through_exceptions(context), 2);
  EXPECT_EQ(notes.words, "tick microtask immediate ");
}

TEST_P(NodeTrouble, AnImmediateThatThrowsTakesNoOtherWithIt) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, fail_loudly);
  net::set_immediate(context, notes("immediate"));
  EXPECT_EQ(run_through_exceptions(context), 1);
  EXPECT_EQ(notes.words, "immediate ");
}

TEST_P(NodeTrouble, AnIntervalThatThrowsGoesOn) {
  Context context{GetParam().make()};
  int ran = 0;
  net::Timeout interval;
  interval = net::set_interval(
      context,
      [&] {
        if (++ran == 3) interval.clear();
        fail_loudly();
      },
      1ms);
  EXPECT_EQ(run_through_exceptions(context), 3);
}

TEST_P(NodeTrouble, ACloseListenerThatThrowsTakesNoOtherSocketsWithIt) {
  Context context{GetParam().make()};
  Notes notes;
  const RefusedPort nobody;
  const net::Socket first = net::connect(context, nobody.address.port());
  const net::Socket second = net::connect(context, nobody.address.port());
  const auto owned = flag();
  first.on_close([owned, first] { fail_loudly(); });
  second.on_close(notes("close"));
  first.destroy();
  second.destroy();
  EXPECT_EQ(run_through_exceptions(context), 1);
  EXPECT_EQ(notes.words, "close ");
  EXPECT_EQ(owned.use_count(), 1);
}

// What was queued elsewhere is run before a callback that has come. If that throws, the callback must not be lost.
TEST_P(NodeTrouble, DataIsNotLostWhenWhatComesBeforeItThrows) {
  Context context{GetParam().make()};
  std::string received;
  const net::Server server = serve_one(context, [&](const net::Socket& socket) {
    socket.on_data([&, socket](std::string_view data) {
      received += data;
      if (received.size() < 20) socket.write(data);
    });
  });
  const net::Socket client = net::connect(context, server.address().port());
  client.on_data([&, client](std::string_view data) {
    received += data;
    received.size() < 20 ? (void)client.write(data) : client.end();
  });
  const Timer plain = context.every(1ns, [&] { net::next_tick(context, fail_loudly); });
  client.write("x");
  EXPECT_GT(run_through_exceptions(context), 0);
  EXPECT_EQ(received, std::string(20, 'x'));
}

// ---- the context goes ----

TEST_P(NodeTrouble, WithTheContextEverythingPendingIsDroppedAndHandlesAreInert) {
  const auto owned = flag();
  net::Timeout timeout;
  net::Immediate immediate;
  net::Server server;
  net::Socket socket;
  std::unique_ptr<Task> awaited;
  {
    Context context{GetParam().make()};
    timeout = net::set_timeout(
        context, [owned] { FAIL(); }, 1h);
    net::set_interval(
        context, [owned] { FAIL(); }, 1h);
    immediate = net::set_immediate(context, [owned] { FAIL(); });
    net::next_tick(context, [owned] { FAIL(); });
    net::queue_microtask(context, [owned] { FAIL(); });
    server = net::create_server(context, [owned](const net::Socket&) { FAIL(); });
    server.listen(0, [owned] { FAIL(); });
    socket = net::connect(context, server.address().port(), [owned] { FAIL(); });
    socket.on_close([socket, owned] { FAIL(); });
    const net::Socket destroyed = net::connect(context, server.address().port());
    destroyed.on_close([destroyed, owned] { FAIL(); });
    destroyed.destroy(std::make_error_code(std::errc::bad_message));
    awaited = std::make_unique<Task>(net::callback(context, [] { FAIL(); }));
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
    explicit Last(Context& to) : context(&to), socket(net::connect(to, RefusedPort{}.address.port())) {
      socket.on_close([] { FAIL(); });
    }
    Last(Last&& other) noexcept : context(std::exchange(other.context, nullptr)), socket(other.socket) {}
    ~Last() {
      if (!context) return;
      socket.destroy();
      net::next_tick(*context, [] { FAIL(); });
      net::set_immediate(*context, [] { FAIL(); });
      net::set_timeout(*context, [] { FAIL(); }).refresh();
      net::connect(*context, 1).on_close([] { FAIL(); });
      net::callback(*context, [] { FAIL(); })();
      const net::Server server = net::create_server(*context);
      EXPECT_TRUE(is(thrown_by([&] { return server.listen(0), 0; }).code, std::errc::invalid_argument));
    }
    Context* context;
    net::Socket socket;
  };
  Context context{GetParam().make()};
  net::set_timeout(
      context, [last = Last(context)] { FAIL(); }, 1h);
  net::set_immediate(context, [last = Last(context)] { FAIL(); });
  net::next_tick(context, [last = Last(context)] { FAIL(); });
  net::queue_microtask(context, [last = Last(context)] { FAIL(); });
  const net::Socket socket = net::connect(context, RefusedPort{}.address.port());
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
    net::Socket accepted;
    const net::Server server = net::create_server(*context, [&, reset = at(3)](const net::Socket& socket) {
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
    const net::Socket client = net::connect(*context, server.address().port());
    client.on_connect([&, reset = at(9)] {
      reset();
      if (!gone) net::set_immediate(*context, at(10));
    });
    client.on_data([&, client](std::string_view) {
      client.end();
      server.close();
    });
    client.on_error([](std::error_code) {});
    client.on_close(at(11));
    client.write("data");
    net::next_tick(*context, at(0));
    net::queue_microtask(*context, at(1));
    net::set_timeout(*context, [] {});
    context->run();
    EXPECT_TRUE(gone) << kind;
  }
}

// ---- nested iterations of the loop ----

TEST_P(NodeNested, TheQueuesGoOnInsideACallbackThatIteratesTheLoop) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, [&] {
    bool inner_done = false;
    bool plain_done = false;
    net::next_tick(context, notes("outer"));
    net::set_timeout(context, [&] {
      notes("timeout")();
      net::next_tick(context, notes("inner"));
      net::set_immediate(context, [&] { inner_done = true; });
    });
    while (!inner_done) context.dispatch();
    const Timer plain = context.timer(0ns, [&] { net::next_tick(context, [&] { plain_done = true; }); });
    while (!plain_done) context.dispatch();
    notes("body")();
    net::next_tick(context, notes("last"));
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "outer timeout inner body last ");
}

TEST_P(NodeNested, ATickThatIteratesTheLoopKeepsNoOtherWaiting) {
  Context context{GetParam().make()};
  Notes notes;
  bool done = false;
  net::set_immediate(context, [&] {
    net::next_tick(context, [&] {
      net::set_immediate(context, [&] { done = true; });
      while (!done) context.dispatch();
      notes("first")();
    });
    net::next_tick(context, notes("second"));
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "second first ");
}

TEST_P(NodeNested, AnIntervalIsNotReentered) {
  Context context{GetParam().make()};
  int ran = 0;
  bool inside = false;
  net::Timeout interval;
  interval = net::set_interval(
      context,
      [&] {
        EXPECT_FALSE(inside);
        inside = true;
        for (int i = 0; i < 5; ++i) context.dispatch();
        inside = false;
        if (++ran == 3) interval.clear();
      },
      0ms);
  run_to_the_end(context);
  EXPECT_EQ(ran, 3);
}

// ---- to another loop ----

TEST_P(NodeTrouble, EverythingPendingComesAlongToAnotherLoop) {
  for (const LoopCase& next : all_loops()) {
    Context context{GetParam().make()};
    Notes notes;
    std::string received;
    bool timed_out = false;
    const net::Server server = serve_one(context, [&](const net::Socket& socket) {
      socket.on_data([socket](std::string_view data) { socket.write(data); });
    });
    const net::Socket client = net::connect(context, server.address().port());
    client.on_data([&](std::string_view data) { received += data; });
    client.on_connect([&, client] {
      context.move_to(next.make());
      net::next_tick(context, notes("tick"));
      net::queue_microtask(context, notes("microtask"));
      net::set_immediate(context, [&, client] {
        notes("immediate")();
        client.end("over there");
      });
      net::set_timeout(context, [&] { timed_out = true; });
    });
    run_to_the_end(context);
    EXPECT_EQ(notes.words, "tick microtask immediate ");
    EXPECT_EQ(received, "over there") << next.name;
    EXPECT_TRUE(timed_out);
  }
}

TEST_P(NodeTrouble, AMoveInEachPhaseLosesNothing) {
  Context context{GetParam().make()};
  const Loop home = context.loop();
  Notes notes;
  bool away = false;
  const auto moving = [&](std::string_view word) {
    return [&, word] {
      notes(word)();
      away = !away;
      context.move_to(away ? native().aggregate() : home);
    };
  };
  net::next_tick(context, moving("tick"));
  net::next_tick(context, moving("tick"));
  net::queue_microtask(context, moving("microtask"));
  net::queue_microtask(context, moving("microtask"));
  net::set_immediate(context, moving("immediate"));
  net::set_immediate(context, moving("immediate"));
  for (int i = 0; i < 2; ++i) {
    const net::Socket socket = net::connect(context, RefusedPort{}.address.port());
    socket.on_close(moving("close"));
    socket.destroy();
  }
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick tick microtask microtask immediate immediate close close ");
}

TEST_P(NodeTrouble, InAForkedChildItGoesOnOnALoopOfTheChilds) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, [&] {
    notes("immediate")();
    net::set_timeout(context, notes("timeout"), 1ms);
  });
  const net::Timeout timeout = net::set_timeout(
      context, [] { FAIL(); }, 1h);
  net::next_tick(context, [&, timeout] {
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
  Context context{GetParam().make()};
  const net::Server server = net::create_server(context);
  const net::Timeout timeout = net::set_timeout(
      context, [] { FAIL(); }, 1h);
  std::vector<std::error_code> codes;
  net::set_immediate(context, [&] {
    std::thread([&] {
      codes.push_back(thrown_by([&] { return net::set_timeout(context, [] {}); }).code);
      codes.push_back(thrown_by([&] { return net::set_immediate(context, [] {}); }).code);
      codes.push_back(thrown_by([&] { return net::next_tick(context, [] {}), 0; }).code);
      codes.push_back(thrown_by([&] { return net::queue_microtask(context, [] {}), 0; }).code);
      codes.push_back(thrown_by([&] { return net::create_server(context); }).code);
      codes.push_back(thrown_by([&] { return net::connect(context, 1); }).code);
      codes.push_back(thrown_by([&] { return net::callback(context, [] {}); }).code);
      codes.push_back(thrown_by([&] { return server.listen(0), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.unref(), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.refresh(), 0; }).code);
      codes.push_back(thrown_by([&] { return timeout.clear(), 0; }).code);
      codes.push_back(thrown_by([&] { return server.close(), 0; }).code);
      codes.push_back(thrown_by([&] { return server.on_close([] {}), 0; }).code);
    }).join();
    timeout.clear();
  });
  run_to_the_end(context);
  EXPECT_EQ(codes.size(), 13u);
  for (const std::error_code& code : codes) {
    EXPECT_TRUE(is(code, std::errc::operation_not_permitted)) << code.message();
  }
}

TEST_P(NodeTrouble, WhatATaskBeginsAfterAllWasOverKeepsItRunning) {
  Context context{GetParam().make()};
  Notes notes;
  net::next_tick(context, notes("tick"));
  context.post([&] { net::set_timeout(context, notes("timeout"), 1ms); });
  run_to_the_end(context);
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
    net::set_timeout(
        context, [&] { ran = true; }, 1ms);
    while (script.kept_alive()) script.run_once(1ms);
    EXPECT_TRUE(ran);
    net::next_tick(context, [&] { ran = false; });
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
  net::next_tick(context, fail_loudly);
  net::next_tick(context, [&] { ran = true; });
  net::set_immediate(context, fail_loudly);
  while (script.kept_alive()) script.run_once(1ms);
  EXPECT_EQ(thrown, 2);
  EXPECT_TRUE(ran);
}

TEST_F(NodeOnForeignLoop, AContextThatIsDrivenByDispatchHasItsTurns) {
  Context context{native()};
  Notes notes;
  net::set_timeout(context, notes("timeout"));
  net::set_immediate(context, notes("immediate"));
  net::next_tick(context, notes("tick"));
  EXPECT_TRUE(dispatch_until(context, [&] { return notes.words == "tick timeout immediate "; })) << notes.words;
}

}  // namespace
}  // namespace onloop::test
