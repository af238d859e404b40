// Timeouts, immediates, ticks and microtasks: what each does, and what keeps run() from returning.
#include "node_drive.hpp"

namespace onloop::test {
namespace {

class NodePhases : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(NodePhases);
class NodePhasesInOrder : public LoopTest {};  // the deadlines of the scripted loop come late
ONLOOP_ON_LOOPS(NodePhasesInOrder, friendly_loops());

// ---- timeouts ----

TEST_P(NodePhases, ATimeoutWithoutAHandleRunsOnceAndNotBeforeItsTime) {
  Context context{GetParam().make()};
  const auto begin = Clock::now();
  int ran = 0;
  Clock::time_point at;
  node::set_timeout(
      context,
      [&] {
        ++ran;
        at = Clock::now();
      },
      5ms);
  EXPECT_EQ(ran, 0);
  run_to_the_end(context);
  EXPECT_EQ(ran, 1);
  EXPECT_GE(at - begin, 5ms);
}

TEST_P(NodePhases, TimeoutsRunInTheOrderOfTheirMoments) {
  Notes notes;
  node::set_timeout(context(), notes("third"), 50ms);
  node::set_timeout(context(), notes("first"));
  node::set_timeout(context(), notes("second"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "first second third ");
}

TEST_P(NodePhases, AClearedTimeoutIsDestroyedAndKeepsNothingRunning) {
  const auto owned = flag();
  const node::Timeout timeout = node::set_timeout(
      context(), [owned] { FAIL(); }, 1h);
  node::clear_timeout(timeout);
  EXPECT_EQ(owned.use_count(), 1);
  timeout.clear();
  timeout.refresh();
  run_to_the_end(context());
}

TEST_P(NodePhases, ATimeoutMayBeClearedByAnotherThatIsDueWithIt) {
  node::Timeout second;
  node::set_timeout(context(), [&] { second.clear(); });
  second = node::set_timeout(context(), [] { FAIL(); });
  run_to_the_end(context());
}

TEST_P(NodePhases, AnIntervalRepeatsUntilItIsClearedInItsOwnCallback) {
  const auto owned = flag();
  int ran = 0;
  node::Timeout interval;
  interval = node::set_interval(
      context(),
      [&, owned] {
        if (++ran < 3) return;
        node::clear_interval(interval);
        EXPECT_GT(owned.use_count(), 1) << "it is destroyed while it runs";
      },
      1ms);
  run_to_the_end(context());
  EXPECT_EQ(ran, 3);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_P(NodePhases, AnIntervalOfZeroLeavesImmediatesTheirTurns) {
  node::Timeout interval = node::set_interval(
      context(), [] {}, 0ms);
  int immediates = 0;
  std::function<void()> again = [&] {
    if (++immediates == 5) return interval.clear();
    node::set_immediate(context(), again);
  };
  node::set_immediate(context(), again);
  run_to_the_end(context());
  EXPECT_EQ(immediates, 5);
}

TEST_P(NodePhases, RefreshCountsFromThen) {
  Context context{GetParam().make()};
  const auto begin = Clock::now();
  Clock::time_point refreshed;
  Clock::time_point ran;
  const node::Timeout timeout = node::set_timeout(
      context, [&] { ran = Clock::now(); }, 50ms);
  node::set_timeout(
      context,
      [&] {
        refreshed = Clock::now();
        timeout.refresh();
      },
      2ms);
  run_to_the_end(context);
  EXPECT_GE(ran - refreshed, 50ms);
  EXPECT_GE(refreshed - begin, 2ms);
}

TEST_P(NodePhases, RefreshedInItsOwnCallbackItRunsAgain) {
  int ran = 0;
  node::Timeout timeout;
  timeout = node::set_timeout(context(), [&] {
    if (++ran < 3) timeout.refresh();
  });
  run_to_the_end(context());
  EXPECT_EQ(ran, 3);
  timeout.refresh();
  run_to_the_end(context());
  EXPECT_EQ(ran, 3) << "it was over";
}

TEST_P(NodePhases, ATimeoutThatIsOverHasDroppedWhatItOwned) {
  const auto owned = flag();
  const node::Timeout timeout = node::set_timeout(context(), [owned] {});
  run_to_the_end(context());
  EXPECT_EQ(owned.use_count(), 1);
}

// ---- liveness ----

TEST_P(NodePhases, WithNothingToDoRunReturnsAtOnce) {
  node::next_tick(context(), nullptr);
  node::queue_microtask(context(), nullptr);
  EXPECT_FALSE(node::set_timeout(context(), nullptr).has_ref());
  EXPECT_FALSE(node::set_interval(context(), nullptr, 1ms).has_ref());
  EXPECT_FALSE(node::set_immediate(context(), nullptr).has_ref());
  run_to_the_end(context());
  run_to_the_end(context());
}

TEST_P(NodePhases, WhatTheMainProgramQueuedIsRunBeforeRunReturns) {
  Notes notes;
  node::queue_microtask(context(), notes("microtask"));
  node::next_tick(context(), notes("tick"));
  EXPECT_EQ(notes.words, "") << "never inside the call";
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick microtask ");
  node::next_tick(context(), notes("again"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick microtask again ");
  node::set_immediate(context(), notes("immediate"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick microtask again immediate ");
}

TEST_P(NodePhases, AnUnreferencedTimeoutKeepsNothingRunning) {
  const node::Timeout timeout = node::set_timeout(
      context(), [] { FAIL(); }, 1h);
  EXPECT_TRUE(timeout.has_ref());
  timeout.unref();
  timeout.unref();
  EXPECT_FALSE(timeout.has_ref());
  run_to_the_end(context());
}

TEST_P(NodePhases, AReferenceThatIsTakenBackKeepsItRunning) {
  bool ran = false;
  const node::Timeout timeout = node::set_timeout(
      context(), [&] { ran = true; }, 2ms);
  timeout.unref();
  timeout.ref();
  run_to_the_end(context());
  EXPECT_TRUE(ran);
}

TEST_P(NodePhases, AnUnreferencedTimeoutRunsWhileSomethingElseLasts) {
  bool ran = false;
  node::set_timeout(
      context(), [&] { ran = true; }, 1ms)
      .unref();
  node::set_timeout(
      context(), [] {}, 20ms);
  run_to_the_end(context());
  EXPECT_TRUE(ran);
}

TEST_P(NodePhases, AnUnreferencedImmediateRunsOnlyWithSomethingElse) {
  bool ran = false;
  const node::Immediate immediate = node::set_immediate(context(), [&] { ran = true; });
  immediate.unref();
  EXPECT_FALSE(immediate.has_ref());
  run_to_the_end(context());
  EXPECT_FALSE(ran);
  node::set_timeout(context(), [] {});
  run_to_the_end(context());
  EXPECT_TRUE(ran) << "the turn of the timeout has its immediates";
  node::set_immediate(context(), [&] { ran = false; }).unref();
  const node::Immediate again = node::set_immediate(context(), [] {});
  again.unref();
  again.ref();
  run_to_the_end(context());
  EXPECT_FALSE(ran);
}

// Work that a turn leaves for later keeps run() running, whatever queued the work.
TEST_P(NodePhases, AChainOfPhasesKeepsItRunningToItsEnd) {
  Notes notes;
  node::set_timeout(context(), [&] {
    node::queue_microtask(context(), [&] {
      node::set_immediate(
          context(), [&] { node::next_tick(context(), [&] { node::set_timeout(context(), notes("end"), 1ms); }); });
    });
  });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "end ");
}

// ---- immediates ----

TEST_P(NodePhases, ImmediatesRunInTheirOrderAndAClearedOneNot) {
  Notes notes;
  node::Immediate third;
  node::set_immediate(context(), [&] {
    notes("first")();
    node::clear_immediate(third);
  });
  node::set_immediate(context(), notes("second"));
  third = node::set_immediate(context(), [] { FAIL(); });
  node::set_immediate(context(), notes("fourth"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "first second fourth ");
  third.clear();
}

TEST_P(NodePhasesInOrder, AnImmediateOfAnImmediateComesInTheNextTurn) {
  Context context{GetParam().make()};
  Notes notes;
  node::set_immediate(context, [&] {
    node::set_immediate(context, notes("immediate"));
    node::set_timeout(context, notes("timeout"));
  });
  node::set_immediate(context, notes("other"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "other timeout immediate ");
}

// ---- the queues ----

TEST_P(NodePhases, TicksThenMicrotasksUntilBothAreEmpty) {
  Notes notes;
  node::set_immediate(context(), [&] {
    node::queue_microtask(context(), [&] {
      notes("m1")();
      node::next_tick(context(), [&] {
        notes("t3")();
        node::queue_microtask(context(), notes("m4"));
      });
      node::queue_microtask(context(), notes("m3"));
    });
    node::queue_microtask(context(), notes("m2"));
    node::next_tick(context(), [&] {
      notes("t1")();
      node::next_tick(context(), notes("t2"));
    });
    notes("body")();
  });
  node::set_immediate(context(), notes("next"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "body t1 t2 m1 m2 m3 t3 m4 next ");
}

TEST_P(NodePhases, WhatACallbackOfTheContextQueuesIsRunInThatTurnOrTheNext) {
  Notes notes;
  const node::Timeout lasting = node::set_timeout(
      context(), [] { FAIL(); }, 1h);
  const Timer timer = context().timer(1ms, [&] {
    node::queue_microtask(context(), notes("microtask"));
    node::next_tick(context(), notes("tick"));
    context().post([&] { lasting.clear(); });
  });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "tick microtask ");
}

TEST_P(NodePhasesInOrder, ItIsRunBeforeTheNextCallbackOfTheLayer) {
  Context context{GetParam().make()};
  Notes notes;
  Timer plain;
  node::set_immediate(context, [&] {
    plain = context.timer(0ns, [&] { node::next_tick(context, notes("tick")); });
    node::set_timeout(context, notes("timeout"));
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick timeout ");
}

// ---- callback() ----

TEST_P(NodePhases, AWrappedCallbackIsOneOfTheLayersAndKeepsItRunning) {
  Notes notes;
  context().post(node::callback(context(), [&, once = std::make_unique<int>(1)] {
    node::queue_microtask(context(), notes("microtask"));
    node::next_tick(context(), notes("tick"));
    notes("callback")();
  }));
  context().post(notes("task"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "callback tick microtask task ");
}

TEST_P(NodePhases, AWrappedCallbackTakesWhatIsGivenAndMayBeCalledAgain) {
  int sum = 0;
  auto add = node::callback(context(), [&](std::unique_ptr<int> number, int& other) { sum += *number + other++; });
  int other = 10;
  context().post([&] {
    add(std::make_unique<int>(1), other);
    add(std::make_unique<int>(2), other);
  });
  run_to_the_end(context());
  EXPECT_EQ(sum, 1 + 10 + 2 + 11);
}

TEST_P(NodePhases, AWrappedCallbackThatGoesUncalledLetsTheLoopGo) {
  auto awaited = std::make_unique<Task>(node::callback(context(), [] { FAIL(); }));
  auto moved = node::callback(context(), [] { FAIL(); });
  const Timer timer = context().timer(2ms, [&] {
    awaited.reset();
    const auto end = std::move(moved);
  });
  run_to_the_end(context());
  EXPECT_FALSE(timer.active()) << "run() returned too early";
}

TEST_P(NodePhases, CalledInsideAnotherCallbackItIsAPartOfThat) {
  Notes notes;
  auto inner = node::callback(context(), [&] {
    node::next_tick(context(), notes("tick"));
    notes("inner")();
  });
  node::set_immediate(context(), [&] {
    inner();
    notes("outer")();
  });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "inner outer tick ");
}

}  // namespace
}  // namespace onloop::test
