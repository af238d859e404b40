// Child processes: how their end is reported, and that no child is left as a zombie.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "children.hpp"

namespace onloop::test {
namespace {

class Spawn : public WithChildren<LoopTest> {};
ONLOOP_ON_ALL_LOOPS(Spawn);

TEST_P(Spawn, TellsTheExitStatusOnceFromTheLoop) {
  for (const int code : {0, 1, 42, 255}) {
    Ending ending;
    Context context{GetParam().make()};
    const Process process = context.spawn(shell("exit " + std::to_string(code)), ending.note());
    EXPECT_GT(process.pid(), 0);
    EXPECT_TRUE(process.running());
    EXPECT_EQ(process.in(), nullptr);
    wait_for_end(process.pid());
    EXPECT_EQ(ending.calls, 0) << "it is told in a turn";
    ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
    EXPECT_FALSE(process.running());
    EXPECT_EQ(ending.status, ExitStatus{.code = code});
    EXPECT_EQ(ending.status->success(), code == 0);
    EXPECT_EQ(ending.status->to_string(), "exited with status " + std::to_string(code));
    turns(context);
    EXPECT_EQ(ending.calls, 1);
    EXPECT_FALSE(has_children()) << "a zombie";
  }
}

TEST_P(Spawn, TellsWhichSignalHasKilledIt) {
  Ending ending;
  Context context{GetParam().make()};
  const Process process = context.spawn(shell("kill -TERM $$"), ending.note());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{.signal = SIGTERM});
  EXPECT_FALSE(ending.status->success());
  EXPECT_EQ(ending.status->to_string(), "killed by signal 15 (Terminated)");
}

TEST_P(Spawn, KillSendsASignalToIt) {
  Ending ending;
  Context context{GetParam().make()};
  Process process = context.spawn(endless(), ending.note());
  turns(context);
  EXPECT_EQ(ending.calls, 0);
  process.kill(SIGUSR1);
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{.signal = SIGUSR1});
  process.kill(SIGKILL);  // to nobody
}

TEST_P(Spawn, KillOfAnEndThatIsNotToldYetIsHarmlessAndNoSignalIsRefused) {
  Ending ending;
  Context context{GetParam().make()};
  Process process = context.spawn(shell("exit 3"), ending.note());
  EXPECT_TRUE(is(thrown_by([&] { return process.kill(12345), 0; }).code, std::errc::invalid_argument));
  wait_for_end(process.pid());
  process.kill(SIGKILL);
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{.code = 3});
}

TEST_P(Spawn, KillFromAnotherThreadIsRefused) {
  Ending ending;
  Context context{GetParam().make()};
  Process process = context.spawn(endless(), ending.note());
  context.post([&] {
    std::error_code code;
    std::thread([&] { code = thrown_by([&] { return process.kill(SIGUSR1), 0; }).code; }).join();
    EXPECT_TRUE(is(code, std::errc::operation_not_permitted));
    process.kill(SIGKILL);
  });
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{.signal = SIGKILL});
}

TEST_P(Spawn, EachOfManyHasItsOwnEnd) {
  constexpr int kMany = 20;
  std::vector<Ending> endings(kMany);
  std::vector<Process> processes;
  Context context{GetParam().make()};
  for (int i = 0; i < kMany; ++i) {
    processes.push_back(context.spawn(shell("exit " + std::to_string(i)), endings[static_cast<std::size_t>(i)].note()));
  }
  const auto all = [&] {
    return std::all_of(endings.begin(), endings.end(), [](const Ending& ending) { return ending.calls > 0; });
  };
  ASSERT_TRUE(run_until(context, all));
  for (int i = 0; i < kMany; ++i) EXPECT_EQ(endings[static_cast<std::size_t>(i)].status, ExitStatus{.code = i});
}

TEST_P(Spawn, AnEndThatNobodyAsksForIsReapedAllTheSame) {
  Context context{GetParam().make()};
  const Process process = context.spawn(shell("exit 1"), {});
  ASSERT_TRUE(run_until(context, [&] { return !process.running(); }));
  EXPECT_FALSE(has_children());
}

TEST_P(Spawn, AProcessThatIsDestroyedEndsTheWatchAndTheChildIsReaped) {
  Ending ending;
  Context context{GetParam().make()};
  pid_t pid = 0;
  {
    const Process process = context.spawn(endless(), ending.note());
    pid = process.pid();
  }
  EXPECT_EQ(::kill(pid, 0), 0) << "it goes on";
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  ASSERT_TRUE(run_until(context, [] { return !has_children(); }));
  EXPECT_EQ(ending.calls, 0);
}

TEST_P(Spawn, AProcessMovesAndIsReplaced) {
  Ending first, second;
  Context context{GetParam().make()};
  Process process = context.spawn(endless(), first.note());
  Process other = std::move(process);
  EXPECT_EQ(process.pid(), 0);
  EXPECT_FALSE(process.running());
  process.kill(SIGKILL);
  EXPECT_TRUE(other.running());
  ASSERT_EQ(::kill(other.pid(), SIGKILL), 0);
  other = context.spawn(shell("exit 2"), second.note());
  ASSERT_TRUE(run_until(context, [&] { return second.calls > 0 && !has_children(); }));
  EXPECT_EQ(first.calls, 0);
}

TEST_P(Spawn, OnExitMayDestroyTheProcessAndSpawnTheNext) {
  Ending ending;
  Context context{GetParam().make()};
  Process process;
  process = context.spawn(shell("exit 1"), [&](ExitStatus status) {
    EXPECT_EQ(status.code, 1);
    process = {};
    process = context.spawn(shell("exit 2"), ending.note());
  });
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status->code, 2);
}

TEST_P(Spawn, OnExitMayDestroyTheContext) {
  auto context = std::make_unique<Context>(GetParam().make());
  Recorder out;
  SpawnOptions options = shell("exit 1");
  options.out = Stdio::stream(out);
  Process process = context->spawn(std::move(options), [&](ExitStatus) { context.reset(); });
  const Process other = context->spawn(endless(), [](ExitStatus) { FAIL(); });
  context->run();
  EXPECT_FALSE(context);
  EXPECT_FALSE(has_children());
  EXPECT_FALSE(other.running());
  EXPECT_EQ(process.out(), nullptr);
  process.kill(SIGKILL);
}

TEST_P(Spawn, AnExceptionOfOnExitLeavesRunAndTheRestGoesOn) {
  Ending ending;
  Context context{GetParam().make()};
  const Process first = context.spawn(shell("exit 1"), [](ExitStatus) { throw std::runtime_error("thrown"); });
  EXPECT_THROW(context.run(), std::runtime_error);
  EXPECT_FALSE(first.running());
  const Process second = context.spawn(shell("exit 2"), ending.note());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
}

TEST_P(Spawn, TheContextTakesItsChildrenWithIt) {
  Ending ending;
  Process running, ended;
  {
    Context context{GetParam().make()};
    running = context.spawn(endless(), ending.note());
    ended = context.spawn(shell("exit 1"), ending.note());
    static_cast<void>(context.spawn(shell("trap '' TERM INT HUP; exec sleep 100000"), ending.note()));
    wait_for_end(ended.pid());
  }
  EXPECT_FALSE(has_children());
  EXPECT_FALSE(running.running());
  EXPECT_GT(running.pid(), 0);
  running.kill(SIGKILL);
  EXPECT_EQ(ending.calls, 0);
}

// The callback owns the object that owns the handle. Neither may outlive the end of the child or the context.
TEST_P(Spawn, WhatTheCallbackOwnsGoesWithTheWatch) {
  struct Job {
    Process process;
  };
  std::weak_ptr<Job> ended, running;
  {
    Context context{GetParam().make()};
    const auto start = [&](SpawnOptions options) {
      auto job = std::make_shared<Job>();
      job->process = context.spawn(std::move(options), [job](ExitStatus) {});
      return job;
    };
    ended = start(shell("exit 0"));
    running = start(endless());
    ASSERT_TRUE(run_until(context, [&] { return ended.expired(); }));
    EXPECT_FALSE(running.expired());
  }
  EXPECT_TRUE(running.expired());
}

TEST_P(Spawn, AChildThatSomebodyElseHasReapedEndsInAnUnknownWay) {
  Ending ending;
  Context context{GetParam().make()};
  const Process process = context.spawn(shell("exit 1"), ending.note());
  ASSERT_EQ(::waitpid(-1, nullptr, 0), process.pid());
  ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{});
  EXPECT_FALSE(ending.status->known());
  EXPECT_FALSE(ending.status->success());
  EXPECT_EQ(ending.status->to_string(), "ended in an unknown way");
  turns(context);
  EXPECT_EQ(ending.calls, 1);
}

TEST_P(Spawn, WhereSigchldIsIgnoredTheEndIsToldButNotHow) {
  struct sigaction before {};
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGCHLD, &ignored, &before), 0);
  {
    Context context{GetParam().make()};
    for (int i = 0; i < 20; ++i) {  // some of these end before they are watched
      Ending ending;
      const Process process = context.spawn(shell("exit 1"), ending.note());
      ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
      EXPECT_EQ(ending.status, ExitStatus{});
    }
    static_cast<void>(context.spawn(endless(), {}));
  }
  EXPECT_FALSE(has_children());
  ::sigaction(SIGCHLD, &before, nullptr);
}

TEST_P(Spawn, OtherChildrenAreNotTouched) {
  const pid_t other = ::fork();
  if (other == 0) ::_exit(7);
  Ending ending;
  {
    Context context{GetParam().make()};
    wait_for_end(other);
    const Process process = context.spawn(shell("exit 1"), ending.note());
    ASSERT_TRUE(run_until(context, [&] { return ending.calls > 0; }));
  }
  int status = 0;
  EXPECT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_P(Spawn, ChildrenComeAlongToAnotherLoop) {
  Ending first, second;
  Recorder out;
  Context context{GetParam().make()};
  SpawnOptions options = shell("read line; echo \"$line\"; exit 1");
  options.in = Stdio::stream(out);
  options.out = Stdio::stream(out);
  const Process one = context.spawn(std::move(options), first.note());
  turns(context);
  context.move_to(native_poll());
  turns(context);
  one.in()->write("told on another loop\n");
  ASSERT_TRUE(run_until(context, [&] { return first.calls > 0 && out.closes == 2; }));
  EXPECT_EQ(out.received, "told on another loop\n");

  const Process two = context.spawn(shell("exit 2"), second.note());
  wait_for_end(two.pid());
  context.move_to(GetParam().make());
  ASSERT_TRUE(run_until(context, [&] { return second.calls > 0; }));
  EXPECT_EQ(second.status->code, 2);
}

TEST_P(Spawn, AForkedChildLeavesThemToItsParent) {
  Ending ending;
  auto context = std::make_unique<Context>(GetParam().make());
  Process process = context->spawn(endless(), ending.note());
  turns(*context);
  context->release_thread();
  EXPECT_TRUE(in_child([&] {
    EXPECT_FALSE(process.running());
    process.kill(SIGKILL);
    EXPECT_TRUE(is(thrown_by([&] { return context->spawn(endless(), {}); }).code, std::errc::operation_not_permitted));
    context.reset();
  }));
  EXPECT_TRUE(in_child([&] {
    context->after_fork(GetParam().make());
    EXPECT_FALSE(process.running());
    process.kill(SIGKILL);
    Ending own;
    const Process another = context->spawn(shell("exit 4"), own.note());
    EXPECT_TRUE(run_until(*context, [&] { return own.calls == 1; }));
    EXPECT_EQ(own.status->code, 4);
  }));
  turns(*context);
  EXPECT_TRUE(process.running());
  EXPECT_TRUE(in_child([&] {
    ::kill(process.pid(), SIGUSR1);
    wait_for_end(process.pid());
    context->after_fork(GetParam().make());
    turns(*context);
    EXPECT_EQ(ending.calls, 0);
  }));
  ASSERT_TRUE(run_until(*context, [&] { return ending.calls > 0; }));
  EXPECT_EQ(ending.status, ExitStatus{.signal = SIGUSR1});
}

}  // namespace
}  // namespace onloop::test
