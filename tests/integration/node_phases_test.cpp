// Timeouts, immediates, ticks and microtasks: what each does, and what keeps run() from returning.
#include "node_drive.hpp"

namespace onloop::test {
namespace {

class NodePhases : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(NodePhases);
class NodePhasesInOrder : public LoopTest {};  // the deadlines of the scripted loop come late
ONLOOP_ON_LOOPS(NodePhasesInOrder, friendly_loops());

// ---- timeouts ----

TEST_P(NodePhases, ATimeoutWithoutAHandleRunsOnceAndNotBeforeItsTime) {
  Context context{GetParam().make()};
  const auto begin = Clock::now();
  int ran = 0;
  Clock::time_point at;
  net::set_timeout(
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
  Context context{GetParam().make()};
  Notes notes;
  net::set_timeout(context, notes("third"), 50ms);
  net::set_timeout(context, notes("first"));
  net::set_timeout(context, notes("second"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "first second third ");
}

TEST_P(NodePhases, AClearedTimeoutIsDestroyedAndKeepsNothingRunning) {
  Context context{GetParam().make()};
  const auto owned = flag();
  const net::Timeout timeout = net::set_timeout(
      context, [owned] { FAIL(); }, 1h);
  net::clear_timeout(timeout);
  EXPECT_EQ(owned.use_count(), 1);
  timeout.clear();
  timeout.refresh();
  run_to_the_end(context);
}

TEST_P(NodePhases, ATimeoutMayBeClearedByAnotherThatIsDueWithIt) {
  Context context{GetParam().make()};
  net::Timeout second;
  net::set_timeout(context, [&] { second.clear(); });
  second = net::set_timeout(context, [] { FAIL(); });
  run_to_the_end(context);
}

TEST_P(NodePhases, AnIntervalRepeatsUntilItIsClearedInItsOwnCallback) {
  Context context{GetParam().make()};
  const auto owned = flag();
  int ran = 0;
  net::Timeout interval;
  interval = net::set_interval(
      context,
      [&, owned] {
        if (++ran < 3) return;
        net::clear_interval(interval);
        EXPECT_GT(owned.use_count(), 1) << "it is destroyed while it runs";
      },
      1ms);
  run_to_the_end(context);
  EXPECT_EQ(ran, 3);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_P(NodePhases, AnIntervalOfZeroLeavesImmediatesTheirTurns) {
  Context context{GetParam().make()};
  net::Timeout interval = net::set_interval(
      context, [] {}, 0ms);
  int immediates = 0;
  std::function<void()> again = [&] {
    if (++immediates == 5) return interval.clear();
    net::set_immediate(context, again);
  };
  net::set_immediate(context, again);
  run_to_the_end(context);
  EXPECT_EQ(immediates, 5);
}

TEST_P(NodePhases, RefreshCountsFromThen) {
  Context context{GetParam().make()};
  const auto begin = Clock::now();
  Clock::time_point refreshed;
  Clock::time_point ran;
  const net::Timeout timeout = net::set_timeout(
      context, [&] { ran = Clock::now(); }, 50ms);
  net::set_timeout(
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
  Context context{GetParam().make()};
  int ran = 0;
  net::Timeout timeout;
  timeout = net::set_timeout(context, [&] {
    if (++ran < 3) timeout.refresh();
  });
  run_to_the_end(context);
  EXPECT_EQ(ran, 3);
  timeout.refresh();
  run_to_the_end(context);
  EXPECT_EQ(ran, 3) << "it was over";
}

TEST_P(NodePhases, ATimeoutThatIsOverHasDroppedWhatItOwned) {
  Context context{GetParam().make()};
  const auto owned = flag();
  const net::Timeout timeout = net::set_timeout(context, [owned] {});
  run_to_the_end(context);
  EXPECT_EQ(owned.use_count(), 1);
}

// ---- liveness ----

TEST_P(NodePhases, WithNothingToDoRunReturnsAtOnce) {
  Context context{GetParam().make()};
  net::next_tick(context, nullptr);
  net::queue_microtask(context, nullptr);
  EXPECT_FALSE(net::set_timeout(context, nullptr).has_ref());
  EXPECT_FALSE(net::set_interval(context, nullptr, 1ms).has_ref());
  EXPECT_FALSE(net::set_immediate(context, nullptr).has_ref());
  run_to_the_end(context);
  run_to_the_end(context);
}

TEST_P(NodePhases, WhatTheMainProgramQueuedIsRunBeforeRunReturns) {
  Context context{GetParam().make()};
  Notes notes;
  net::queue_microtask(context, notes("microtask"));
  net::next_tick(context, notes("tick"));
  EXPECT_EQ(notes.words, "") << "never inside the call";
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick microtask ");
  net::next_tick(context, notes("again"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick microtask again ");
  net::set_immediate(context, notes("immediate"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick microtask again immediate ");
}

TEST_P(NodePhases, AnUnreferencedTimeoutKeepsNothingRunning) {
  Context context{GetParam().make()};
  const net::Timeout timeout = net::set_timeout(
      context, [] { FAIL(); }, 1h);
  EXPECT_TRUE(timeout.has_ref());
  timeout.unref();
  timeout.unref();
  EXPECT_FALSE(timeout.has_ref());
  run_to_the_end(context);
}

TEST_P(NodePhases, AReferenceThatIsTakenBackKeepsItRunning) {
  Context context{GetParam().make()};
  bool ran = false;
  const net::Timeout timeout = net::set_timeout(
      context, [&] { ran = true; }, 2ms);
  timeout.unref();
  timeout.ref();
  run_to_the_end(context);
  EXPECT_TRUE(ran);
}

TEST_P(NodePhases, AnUnreferencedTimeoutRunsWhileSomethingElseLasts) {
  Context context{GetParam().make()};
  bool ran = false;
  net::set_timeout(
      context, [&] { ran = true; }, 1ms)
      .unref();
  net::set_timeout(
      context, [] {}, 20ms);
  run_to_the_end(context);
  EXPECT_TRUE(ran);
}

TEST_P(NodePhases, AnUnreferencedImmediateRunsOnlyWithSomethingElse) {
  Context context{GetParam().make()};
  bool ran = false;
  const net::Immediate immediate = net::set_immediate(context, [&] { ran = true; });
  immediate.unref();
  EXPECT_FALSE(immediate.has_ref());
  run_to_the_end(context);
  EXPECT_FALSE(ran);
  net::set_timeout(context, [] {});
  run_to_the_end(context);
  EXPECT_TRUE(ran) << "the turn of the timeout has its immediates";
  net::set_immediate(context, [&] { ran = false; }).unref();
  const net::Immediate again = net::set_immediate(context, [] {});
  again.unref();
  again.ref();
  run_to_the_end(context);
  EXPECT_FALSE(ran);
}

// What a turn leaves to do counts, wherever it came from.
TEST_P(NodePhases, AChainOfPhasesKeepsItRunningToItsEnd) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_timeout(context, [&] {
    net::queue_microtask(context, [&] {
      net::set_immediate(context,
                         [&] { net::next_tick(context, [&] { net::set_timeout(context, notes("end"), 1ms); }); });
    });
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "end ");
}

// ---- immediates ----

TEST_P(NodePhases, ImmediatesRunInTheirOrderAndAClearedOneNot) {
  Context context{GetParam().make()};
  Notes notes;
  net::Immediate third;
  net::set_immediate(context, [&] {
    notes("first")();
    net::clear_immediate(third);
  });
  net::set_immediate(context, notes("second"));
  third = net::set_immediate(context, [] { FAIL(); });
  net::set_immediate(context, notes("fourth"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "first second fourth ");
  third.clear();
}

TEST_P(NodePhasesInOrder, AnImmediateOfAnImmediateComesInTheNextTurn) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, [&] {
    net::set_immediate(context, notes("immediate"));
    net::set_timeout(context, notes("timeout"));
  });
  net::set_immediate(context, notes("other"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "other timeout immediate ");
}

// ---- the queues ----

TEST_P(NodePhases, TicksThenMicrotasksUntilBothAreEmpty) {
  Context context{GetParam().make()};
  Notes notes;
  net::set_immediate(context, [&] {
    net::queue_microtask(context, [&] {
      notes("m1")();
      net::next_tick(context, [&] {
        notes("t3")();
        net::queue_microtask(context, notes("m4"));
      });
      net::queue_microtask(context, notes("m3"));
    });
    net::queue_microtask(context, notes("m2"));
    net::next_tick(context, [&] {
      notes("t1")();
      net::next_tick(context, notes("t2"));
    });
    notes("body")();
  });
  net::set_immediate(context, notes("next"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "body t1 t2 m1 m2 m3 t3 m4 next ");
}

TEST_P(NodePhases, WhatACallbackOfTheContextQueuesIsRunInThatTurnOrTheNext) {
  Context context{GetParam().make()};
  Notes notes;
  const net::Timeout lasting = net::set_timeout(
      context, [] { FAIL(); }, 1h);
  const Timer timer = context.timer(1ms, [&] {
    net::queue_microtask(context, notes("microtask"));
    net::next_tick(context, notes("tick"));
    context.post([&] { lasting.clear(); });
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick microtask ");
}

TEST_P(NodePhasesInOrder, ItIsRunBeforeTheNextCallbackOfTheLayer) {
  Context context{GetParam().make()};
  Notes notes;
  Timer plain;
  net::set_immediate(context, [&] {
    plain = context.timer(0ns, [&] { net::next_tick(context, notes("tick")); });
    net::set_timeout(context, notes("timeout"));
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "tick timeout ");
}

// ---- callback() ----

TEST_P(NodePhases, AWrappedCallbackIsOneOfTheLayersAndKeepsItRunning) {
  Context context{GetParam().make()};
  Notes notes;
  context.post(net::callback(context, [&, once = std::make_unique<int>(1)] {
    net::queue_microtask(context, notes("microtask"));
    net::next_tick(context, notes("tick"));
    notes("callback")();
  }));
  context.post(notes("task"));
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "callback tick microtask task ");
}

TEST_P(NodePhases, AWrappedCallbackTakesWhatIsGivenAndMayBeCalledAgain) {
  Context context{GetParam().make()};
  int sum = 0;
  auto add = net::callback(context, [&](std::unique_ptr<int> number, int& other) { sum += *number + other++; });
  int other = 10;
  context.post([&] {
    add(std::make_unique<int>(1), other);
    add(std::make_unique<int>(2), other);
  });
  run_to_the_end(context);
  EXPECT_EQ(sum, 1 + 10 + 2 + 11);
}

TEST_P(NodePhases, AWrappedCallbackThatGoesUncalledLetsTheLoopGo) {
  Context context{GetParam().make()};
  auto awaited = std::make_unique<Task>(net::callback(context, [] { FAIL(); }));
  auto moved = net::callback(context, [] { FAIL(); });
  const Timer timer = context.timer(2ms, [&] {
    awaited.reset();
    const auto end = std::move(moved);
  });
  run_to_the_end(context);
  EXPECT_FALSE(timer.active()) << "run() returned too early";
}

TEST_P(NodePhases, CalledInsideAnotherCallbackItIsAPartOfThat) {
  Context context{GetParam().make()};
  Notes notes;
  auto inner = net::callback(context, [&] {
    net::next_tick(context, notes("tick"));
    notes("inner")();
  });
  net::set_immediate(context, [&] {
    inner();
    notes("outer")();
  });
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "inner outer tick ");
}

}  // namespace
}  // namespace onloop::test
