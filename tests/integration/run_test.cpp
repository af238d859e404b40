// run(), stop(), what keeps a loop running, posted tasks, and the order within a turn.
#include "drive.hpp"

namespace onloop::test {
namespace {

class Run : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Run);
class PunctualRun : public LoopTest {};  // the deadlines of the scripted loop come late
ONLOOP_ON_LOOPS(PunctualRun, friendly_loops());

TEST_P(Run, StoppedInACallbackReturnsAtTheEndOfTheTurn) {
  std::string order;
  Context context{GetParam().make()};
  const Timer timer = context.timer(0ns, [&] {
    order += "stop ";
    context.post([&] { order += "task"; });
    context.stop();
  });
  context.run();
  EXPECT_EQ(order, "stop task");
}

TEST_P(Run, StoppedBeforehandReturnsAtOnceAndOnlyOnce) {
  bool fired = false;
  Context context{GetParam().make()};
  context.stop();
  context.run();
  const Timer timer = context.timer(1ms, [&] {
    fired = true;
    context.stop();
  });
  context.run();
  EXPECT_TRUE(fired) << "the stop was used up";
}

TEST_P(Run, InsideRunIsRefused) {
  std::error_code inner;
  Context context{GetParam().make()};
  context.post([&] {
    inner = thrown_by([&] {
              context.run();
              return 0;
            }).code;
    context.stop();
  });
  context.run();
  EXPECT_TRUE(is(inner, std::errc::device_or_resource_busy)) << inner.message();
}

TEST_P(Run, ReturnsWhenNothingIsToKeepItRunning) {
  Echo echo;
  context().listen("127.0.0.1:0", echo);
  const Timer timer = context().timer(1ms, [&] { context().set_keepalive(false); });
  const Timer guard = context().timer(10s, [&] {
    ADD_FAILURE();
    context().stop();
  });
  context().run();
  context().run();  // still off
  context().set_keepalive(true);
  bool fired = false;
  const Timer again = context().timer(1ms, [&] {
    fired = true;
    context().stop();
  });
  context().run();
  EXPECT_TRUE(fired);
}

TEST_P(Run, KeptRunningAgainInTheSameTurnItRunsOn) {
  bool fired = false;
  Timer timer;
  context().post([&] {
    context().set_keepalive(false);
    context().set_keepalive(true);
    timer = context().timer(1ms, [&] {
      fired = true;
      context().set_keepalive(false);
    });
  });
  context().run();
  EXPECT_TRUE(fired);
}

TEST_P(Run, TwoContextsTakeTurnsOnOneThread) {
  Recorder recorder;
  Echo echo;
  Context server{GetParam().make()};
  Context client{GetParam().make()};
  const Listener& listener = server.listen("127.0.0.1:0", echo);
  recorder.when_open = [](Connection& connection) { connection.write("hello"); };
  client.connect(listener.address().to_string(), recorder);
  for (int i = 0; i < 1000 && recorder.received != "hello"; ++i) {
    turns(client, 3);
    turns(server, 3);
  }
  EXPECT_EQ(recorder.received, "hello");
}

TEST_P(Run, PostedTasksRunInOrderAndNeverInsideTheCall) {
  std::string order;
  Context context{GetParam().make()};
  for (const char c : std::string("abc")) context.post([&order, c] { order += c; });
  EXPECT_EQ(order, "");
  ASSERT_TRUE(run_until(context, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "abc");
}

TEST_P(PunctualRun, ATaskPostedByATaskRunsInTheNextTurn) {
  std::string order;
  Context context{GetParam().make()};
  Timer timer;
  context.post([&] {
    timer = context.timer(0ns, [&] { order += "timer "; });  // this timer comes first in the next turn
    context.post([&] { order += "task"; });
    order += "first ";
  });
  ASSERT_TRUE(run_until(context, [&] { return order.size() > 10; }));
  EXPECT_EQ(order, "first timer task");
}

TEST_P(Run, TasksThatPostThemselvesDoNotStarveInput) {
  Line line = join(context(), recorder_);
  long rounds = 0;
  const std::function<void()> again = [&] {
    ++rounds;
    context().post([&] { again(); });
  };
  again();
  line.peer.send("x");
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.received == "x" && rounds > 10; }));
}

TEST_P(Run, WithoutATaskPostIsIgnored) {
  context().post(Task{});
  EXPECT_TRUE(context().remote().post(nullptr));
  turns(context());
}

TEST_P(PunctualRun, ATurnIsTimersThenInputThenTasks) {
  std::string order;
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  turns(context);
  recorder.when_data = [&](Connection&, std::string_view) { order += "input "; };
  line.peer.send("x");
  Timer due;
  // In one turn the timer is set and the task posted; in the next all three are due.
  context.post([&] {
    due = context.timer(0ns, [&] { order += "timer "; });
    context.post([&] { order += "task"; });
    order.clear();
    line.peer.send("y");
  });
  ASSERT_TRUE(run_until(context, [&] { return order.ends_with("task"); }));
  EXPECT_EQ(order, "timer input task");
}

TEST_P(Run, DestroyingTheContextDestroysItsPendingTasks) {
  const auto alive = std::make_shared<int>(0);
  {
    Context context{GetParam().make()};
    const Timer timer = context.timer(1h, [alive] {});
    context.post([alive] { FAIL(); });
    context.remote().post([alive] { FAIL(); });
    const Timer repeated = context.every(1h, [alive] {});
    EXPECT_EQ(alive.use_count(), 5);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

}  // namespace
}  // namespace onloop::test
