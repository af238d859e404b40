// Moves together with the ways to drive a context: run(), dispatch(), pollable_fd(), stop(), keepalive and around. Also
// the limits of a move.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "drive.hpp"
#include "support/scripted_loop.hpp"

namespace onloop::test {
namespace {

class CutoverRun : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(CutoverRun);

bool same(const Loop& one, const Loop& other) {
  return &one.ops() == &other.ops() && one.hosting() == other.hosting();
}

TEST_P(CutoverRun, TimersOfEveryKindOnEveryNextLoop) {
  for (const LoopCase& next : all_loops()) {
    Context context{GetParam().make()};
    const auto start = Clock::now();
    std::string order;
    const auto due = [&](std::chrono::milliseconds delay, char name) {
      return [&order, due = start + delay, name] {
        EXPECT_GE(Clock::now(), due) << "timer " << name << " was early";
        order += name;
      };
    };
    const Timer first = context.timer(0ns, due(0ms, '1'));  // in this order, even if time passes in between
    const Timer second = context.timer(2ms, due(2ms, '2'));
    const Timer third = context.timer(4ms, due(4ms, '3'));
    const Timer never = context.timer(1h, [] { ADD_FAILURE() << "an hour was over early"; });
    Timer fourth;
    context.post([&] {
      context.move_to(next.make());
      fourth = context.timer(6ms, due(6ms, '4'));
    });
    ASSERT_TRUE(run_until(context, [&] { return order.size() == 4; })) << next.name << ": " << order;
    EXPECT_EQ(order, "1234") << next.name;
  }
}

TEST_P(CutoverRun, OneRunServesOnEachLoopInTurn) {
  Context context{GetParam().make()};
  std::size_t step = 0;
  const std::function<void()> go_on = [&] {
    if (step == all_loops().size()) {
      context.stop();
      return;
    }
    const Loop next = all_loops()[step++].make();
    context.move_to(next);
    EXPECT_TRUE(same(context.loop(), next));
    context.post(go_on);
  };
  context.post(go_on);
  context.run();
  EXPECT_EQ(step, all_loops().size());
}

TEST_P(CutoverRun, StopBeforeOrAfterAMoveEndsRun) {
  for (const bool stop_first : {true, false}) {
    for (const LoopCase& next : all_loops()) {
      Context context{GetParam().make()};
      bool later = false;
      context.post([&] {
        if (stop_first) context.stop();
        context.move_to(next.make());
        if (!stop_first) context.stop();
        context.post([&] { later = true; });
      });
      context.run();
      EXPECT_FALSE(later) << "run() went on after stop(), to " << next.name;
      ASSERT_TRUE(run_until(context, [&] { return later; }));
    }
  }
}

TEST_P(CutoverRun, WithoutKeepaliveRunReturnsOnTheNextLoopToo) {
  for (const LoopCase& next : all_loops()) {
    Context context{GetParam().make()};
    const Timer timer = context.timer(1h, [] {});
    context.set_keepalive(false);
    context.move_to(next.make());
    context.run();
    context.set_keepalive(true);
    context.post([&] {
      context.move_to(GetParam().make());
      context.post([&] { context.set_keepalive(false); });
    });
    context.run();
    context.set_keepalive(true);
    bool ran = false;
    context.post([&] { ran = true; });
    ASSERT_TRUE(run_until(context, [&] { return ran; }));
  }
}

TEST_P(CutoverRun, AroundIsHeldOnceOnEachLoop) {
  int held = 0;
  ContextOptions options;
  options.around = [&](const std::function<void()>& batch) {
    EXPECT_EQ(held++, 0);
    batch();
    --held;
  };
  Context context{GetParam().make(), options};
  std::size_t moves = 0;
  const Timer mover = context.every(200us, [&] {
    EXPECT_EQ(held, 1);
    if (moves < 2 * all_loops().size()) {
      context.move_to(moves % 2 ? GetParam().make() : all_loops()[moves / 2].make());
      ++moves;
      context.post([&] { EXPECT_EQ(held, 1); });
    }
  });
  ASSERT_TRUE(run_until(context, [&] { return moves == 2 * all_loops().size(); }));
  EXPECT_EQ(held, 0);
}

TEST_P(CutoverRun, FdAndDispatchAfterAMoveAreTheNextLoops) {
  for (const LoopCase& next : all_loops()) {
    if (same(next.make(), GetParam().make())) continue;
    Recorder recorder;
    Context context{GetParam().make()};
    Line line = join(context, recorder);
    if (GetParam().has_fd) {
      EXPECT_GE(context.pollable_fd(), 0);
    }
    context.move_to(next.make());
    const bool by_fd = !thrown_by([&] { return context.pollable_fd(); }).code;
    EXPECT_TRUE(by_fd || !next.has_fd) << next.name;
    if (!next.make().ops().turn) {
      EXPECT_TRUE(is(thrown_by([&] { return context.dispatch(), 0; }).code, std::errc::not_supported));
      continue;
    }
    int ticks = 0;
    const Timer timer = context.timer(1ms, [&] { ++ticks; });
    line.peer.send("data");
    context.post([&] { ++ticks; });
    ASSERT_TRUE(dispatch_until(context, [&] { return ticks == 2 && recorder.received == "data"; })) << next.name;
    if (!by_fd) continue;
    while (readable(context.pollable_fd()))
      context.dispatch();  // earlier deadlines may still make the descriptor readable
    const Timer again = context.timer(1ms, [&] { ++ticks; });
    EXPECT_TRUE(readable(context.pollable_fd(), 10'000ms)) << "the deadline is not in the descriptor of " << next.name;
  }
}

class CutoverLoops : public CleanTest {};

// A nested dispatch() moves the context inside a callback. In this callback, the application then runs its own loop.
TEST_F(CutoverLoops, AMoveInADispatchInsideRunLetsTheApplicationsLoopServe) {
  Script script;
  Context context{native()};
  bool moved = false;
  bool served = false;
  context.post([&] {
    context.post([&] {
      context.move_to(script.foreign().direct());
      moved = true;
    });
    while (!moved) context.dispatch();
    context.post([&] { served = true; });
    for (int i = 0; i < 20 && !served; ++i) script.run_once(0ns);
    EXPECT_TRUE(served) << "the up-calls of the application's loop are not served";
    served = false;
    const Timer timer = context.timer(0ns, [&] { served = true; });
    for (int i = 0; i < 20 && !served; ++i) script.run_once(0ns);
    EXPECT_TRUE(served) << "a timer set outside its up-calls is not armed";
  });
  context.run();
  EXPECT_TRUE(moved);
}

// If the native set stays in a move, the context attaches to no other loop, so no attach can refuse the move. The move
// must be refused nevertheless.
TEST_F(CutoverLoops, WhatANativeLoopRefusesAtAttachItRefusesInAMoveToo) {
  Script script;
  int nothing = 0;
  const Loop foreign = Loop{native().ops(), &nothing}.direct();
  for (const Loop& last : {script.loop(), native_poll(), native_poll().aggregate(), native().aggregate()}) {
    Context context{last};
    for (const Loop& next : {native().priority(1), native().aggregate().priority(1), foreign}) {
      const Thrown thrown = thrown_by([&] { return context.move_to(next), 0; });
      EXPECT_TRUE(is(thrown.code, next.foreign() ? std::errc::invalid_argument : std::errc::not_supported))
          << thrown.words;
      EXPECT_TRUE(same(context.loop(), last));
    }
  }
}

TEST_F(CutoverLoops, TheStallIsFromTheMoveToTheFirstTurn) {
  Context context{native()};
  EXPECT_EQ(context.statistics().last_stall, 0ns);
  context.move_to(native_poll());
  const auto moved = Clock::now();
  while (Clock::now() < moved + 3ms) {
  }
  context.dispatch();
  const auto stall = context.statistics().last_stall;
  EXPECT_GE(stall, 3ms);
  context.dispatch();
  EXPECT_EQ(context.statistics().last_stall, stall);
  EXPECT_EQ(context.statistics().cutovers, 1u);
}

TEST_F(CutoverLoops, FiveThousandIdleConnectionsComeAlong) {
  constexpr std::size_t kConnections = 5'000;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  constexpr rlim_t kNeeded = 2 * kConnections + 200;
  if (before.rlim_max < kNeeded) GTEST_SKIP() << "the hard limit of descriptors is " << before.rlim_max;
  rlimit more = before;
  more.rlim_cur = std::max(before.rlim_cur, kNeeded);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &more), 0);
  {
    Echo echo;
    Context context{native()};
    std::vector<Line> lines;
    lines.reserve(kConnections);
    for (std::size_t i = 0; i < kConnections; ++i) lines.push_back(join(context, echo, {}, Kind::unix_pair));
    std::size_t spoken = 0;
    const auto some_answer = [&] {
      for (std::size_t i = spoken++ % 100; i < kConnections; i += 100) lines[i].peer.send("x");
      std::size_t expected = 0;
      return static_cast<bool>(run_until(context, [&] {
        expected = 0;
        for (std::size_t i = (spoken - 1) % 100; i < kConnections; i += 100) {
          lines[i].peer.read();
          expected += lines[i].peer.received().empty() ? 0u : 1u;
        }
        return expected == kConnections / 100;
      }));
    };
    for (const LoopCase& next : friendly_loops()) {
      context.move_to(next.make());
      EXPECT_TRUE(some_answer()) << next.name;
      if (next.name != "native") context.move_to(native());
    }
    EXPECT_TRUE(some_answer());
    EXPECT_EQ(context.statistics().connections, kConnections);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace onloop::test
