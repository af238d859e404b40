// run_blocking(): the work runs on the worker threads of the context, and its result is told on the thread of the
// context.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <latch>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "drive.hpp"

#ifdef __SANITIZE_THREAD__
// A forked child starts threads of its own. ThreadSanitizer allows this only with an option.
extern "C" const char* __tsan_default_options() {  // NOLINT: its name
  return "die_after_fork=0";
}
#endif

namespace onloop::test {
namespace {

class Blocking : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Blocking);

// Work waits at the gate until the gate opens. Then all of it goes on.
class Gate {
 public:
  Gate() : opened_(promise_.get_future().share()) {}
  void open() { promise_.set_value(); }
  [[nodiscard]] auto waiter() const {
    return [opened = opened_] { opened.wait(); };
  }

 private:
  std::promise<void> promise_;
  std::shared_future<void> opened_;
};

// One thread, which waits at a gate.
struct Busy {
  explicit Busy(const LoopCase& loop, std::size_t queue = 1024)
      : context(std::in_place, loop.make(), ContextOptions{.worker_threads = 1, .worker_queue = queue}) {
    std::promise<void> begun;
    job = context->run_blocking(
        [&, wait = gate.waiter()] {
          begun.set_value();
          wait();
        },
        [this](Outcome<void>) { done = true; });
    begun.get_future().wait();
  }
  Gate gate;
  std::optional<Context> context;
  Job job;
  bool done = false;
};

TEST_P(Blocking, RunsOnAWorkerAndReportsOnTheLoop) {
  Context context(GetParam().make());
  const auto here = std::this_thread::get_id();
  std::thread::id worked;
  std::thread::id told;
  context.run_blocking([] { return std::this_thread::get_id(); },
                       [&](Outcome<std::thread::id> outcome) {
                         worked = outcome.get();
                         told = std::this_thread::get_id();
                         context.stop();
                       });
  EXPECT_EQ(told, std::thread::id());  // never from within the call
  context.run();
  EXPECT_NE(worked, here);
  EXPECT_EQ(told, here);
}

TEST_P(Blocking, DeliversWhatTheWorkThrows) {
  std::string words;
  std::error_code code;
  context().run_blocking([]() -> int { throw std::system_error(errc(std::errc::no_such_device), "read the moon"); },
                         [&](Outcome<int> outcome) {
                           EXPECT_FALSE(outcome);
                           code = error_code_of(outcome.exception());
                           words = thrown_by([&] { return outcome.get(); }).words;
                           context().stop();
                         });
  context().run();
  EXPECT_TRUE(is(code, std::errc::no_such_device));
  EXPECT_NE(words.find("read the moon"), std::string::npos) << words;
}

TEST_P(Blocking, MovesWhatCanOnlyBeMoved) {
  int got = 0;
  context().run_blocking([number = std::make_unique<int>(7)]() mutable { return std::move(number); },
                         [&, keep = std::make_unique<int>(1)](Outcome<std::unique_ptr<int>> outcome) {
                           got = *std::move(outcome).get() + *keep;
                           context().stop();
                         });
  context().run();
  EXPECT_EQ(got, 8);
}

TEST_P(Blocking, RunsAsManyAtATimeAsThereAreThreads) {
  Context context(GetParam().make(), {.worker_threads = 3});
  std::latch all(3);
  int done = 0;
  for (int i = 0; i < 3; ++i) {
    context.run_blocking([&] { all.arrive_and_wait(); },
                         [&](Outcome<void>) {
                           if (++done == 3) context.stop();
                         });
  }
  context.run();
  EXPECT_EQ(done, 3);
}

TEST_P(Blocking, OneThreadTakesItInOrder) {
  Busy busy(GetParam());
  std::vector<int> worked;
  std::vector<int> told;
  for (int i = 0; i < 20; ++i) {
    busy.context->run_blocking([&, i] { worked.push_back(i); }, [&, i](Outcome<void>) { told.push_back(i); });
  }
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return told.size() == 20; }));
  EXPECT_EQ(worked, told);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
}

TEST_P(Blocking, AFullQueueRefusesAndLosesNothing) {
  Busy busy(GetParam(), 2);
  int done = 0;
  const auto add = [&] { return busy.context->run_blocking([] {}, [&](Outcome<void>) { ++done; }); };
  static_cast<void>(add());
  static_cast<void>(add());
  const Thrown thrown = thrown_by(add);
  EXPECT_TRUE(is(thrown.code, std::errc::resource_unavailable_try_again));
  EXPECT_NE(thrown.words.find("2 pieces wait for a thread already"), std::string::npos) << thrown.words;
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done && done == 2; }));
  static_cast<void>(add());
  EXPECT_TRUE(run_until(*busy.context, [&] { return done == 3; }));
}

// After the end of its work was told, a thread used to count as busy for a moment longer.
TEST_P(Blocking, WithNoQueueWorkAfterWorkIsNotRefused) {
  Context context(GetParam().make(), {.worker_threads = 1, .worker_queue = 0});
  int left = 200;
  std::function<void()> next = [&] {
    context.run_blocking([] {},
                         [&](Outcome<void>) {
                           if (--left > 0) {
                             next();
                           } else {
                             context.stop();
                           }
                         });
  };
  next();
  context.run();
  EXPECT_EQ(left, 0);
}

TEST_P(Blocking, CancelledBeforeItBeginsItIsNeverDone) {
  Busy busy(GetParam());
  bool worked = false;
  std::error_code code;
  Job job = busy.context->run_blocking([&] { worked = true; },
                                       [&](Outcome<void> outcome) { code = error_code_of(outcome.exception()); });
  EXPECT_TRUE(job.active());
  job.cancel();
  job.cancel();
  EXPECT_FALSE(code);  // never from within the call
  EXPECT_TRUE(run_until(*busy.context, [&] { return static_cast<bool>(code); }));
  EXPECT_TRUE(is(code, std::errc::operation_canceled));
  EXPECT_FALSE(job.active());
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done; }));
  EXPECT_FALSE(worked);
}

TEST_P(Blocking, CancelledWhileItRunsItIsTold) {
  Context context(GetParam().make());
  std::promise<void> begun;
  bool stopped = false;
  Job job = context.run_blocking(
      [&](const std::stop_token& token) {
        std::promise<void> asked;
        const std::stop_callback tell(token, [&] { asked.set_value(); });
        begun.set_value();
        asked.get_future().wait();
        return token.stop_requested();
      },
      [&](Outcome<bool> outcome) {
        stopped = outcome.get();
        context.stop();
      });
  begun.get_future().wait();
  job.cancel();
  context.run();
  EXPECT_TRUE(stopped);
  job.cancel();  // without effect
}

// Notes on which thread it is destroyed.
class Captured {
 public:
  explicit Captured(std::thread::id* destroyed_on) : destroyed_on_(destroyed_on) {}
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  ~Captured() { *destroyed_on_ = std::this_thread::get_id(); }

 private:
  std::thread::id* destroyed_on_;
};

TEST_P(Blocking, TheContextsEndDropsWhatWaitsAndWaitsForWhatRuns) {
  std::optional<Context> context(std::in_place, GetParam().make(), ContextOptions{.worker_threads = 1});
  std::promise<void> begun;
  bool ended = false;
  bool told = false;
  std::thread::id destroyed_on;
  Job job = context->run_blocking(
      [&](const std::stop_token& token) {
        std::promise<void> asked;
        const std::stop_callback tell(token, [&] { asked.set_value(); });
        begun.set_value();
        asked.get_future().wait();
        ended = true;
      },
      [&](Outcome<void>) { told = true; });
  context->run_blocking([&] { told = true; },
                        [&, held = std::make_shared<Captured>(&destroyed_on)](Outcome<void>) { told = true; });
  begun.get_future().wait();
  context.reset();
  EXPECT_TRUE(ended);
  EXPECT_FALSE(told);
  EXPECT_EQ(destroyed_on, std::this_thread::get_id());
  EXPECT_FALSE(job.active());
  job.cancel();
}

TEST_P(Blocking, TheContextMayGoInItsCallback) {
  std::optional<Context> context(std::in_place, GetParam().make(), ContextOptions{.worker_threads = 2});
  Gate gate;
  std::promise<void> worked;
  bool told = false;
  context->run_blocking([] {},
                        [&](Outcome<void>) {
                          gate.open();
                          worked.get_future().wait();
                          context.reset();
                        });
  context->run_blocking(
      [&, wait = gate.waiter()] {
        wait();
        worked.set_value();
      },
      [&](Outcome<void>) { told = true; });
  context->run();
  EXPECT_FALSE(context);
  EXPECT_FALSE(told);
}

TEST_P(Blocking, WhatTheCallbackThrowsLeavesRun) {
  context().run_blocking([] { return 3; }, [](Outcome<int> outcome) { throw outcome.get(); });
  EXPECT_THROW(context().run(), int);
}

TEST_P(Blocking, TheThreadsTakeNoSignals) {
  context().run_blocking(
      [] {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        return sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGCHLD) == 1;
      },
      [&](Outcome<bool> blocked) {
        EXPECT_TRUE(blocked.get());
        context().stop();
      });
  context().run();
}

TEST_P(Blocking, ComesAlongToAnotherLoop) {
  Busy busy(GetParam());
  busy.context->move_to(native());
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done; }));
}

TEST_P(Blocking, AForkedChildCancelsItAndMayStartItsOwn) {
  Busy busy(GetParam());
  std::error_code waiting;
  busy.context->run_blocking([] {}, [&](Outcome<void> outcome) { waiting = error_code_of(outcome.exception()); });
  EXPECT_TRUE(in_child([&] {
    busy.context->after_fork(GetParam().make());
    int done = 0;
    busy.context->run_blocking([] { return 5; }, [&](Outcome<int> outcome) { done = outcome.get(); });
    EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done && waiting && done == 5; }));
    EXPECT_TRUE(is(waiting, std::errc::operation_canceled));
  }));
  EXPECT_TRUE(in_child([&] { busy.context.reset(); }));
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done; }));
  EXPECT_FALSE(waiting);
}

// When work is asked to stop, it may act on something that the child shares with its parent.
TEST_P(Blocking, AForkedChildDoesNotAskTheParentsWorkToStop) {
  std::optional<Context> context(std::in_place, GetParam().make());
  std::promise<void> begun;
  std::promise<void> asked;
  const std::pair<Fd, Fd> line = connected_pair(Kind::unix_pair);
  context->run_blocking(
      [&](const std::stop_token& token) {
        const std::stop_callback tell(token, [&, fd = line.first.get()] {
          EXPECT_EQ(::write(fd, "x", 1), 1);
          asked.set_value();
        });
        begun.set_value();
        asked.get_future().wait();
      },
      [](Outcome<void>) {});
  begun.get_future().wait();
  EXPECT_TRUE(in_child([&] { context.reset(); }));
  EXPECT_TRUE(in_child([&] {
    context->after_fork(GetParam().make());
    context.reset();
  }));
  EXPECT_FALSE(readable(line.second.get()));
  context.reset();
  EXPECT_TRUE(readable(line.second.get()));
}

TEST_P(Blocking, AForkedChildMayCancelTheWorkOfItsParent) {
  Busy busy(GetParam());
  int canceled = 0;
  Job waiting = busy.context->run_blocking([] {},
                                           [&](Outcome<void> outcome) {
                                             canceled +=
                                                 is(error_code_of(outcome.exception()), std::errc::operation_canceled);
                                           });
  EXPECT_TRUE(in_child([&] {
    waiting.cancel();
    busy.job.cancel();
    EXPECT_TRUE(is(thrown_by([&] { return busy.context->run_blocking([] {}, [](Outcome<void>) {}); }).code,
                   std::errc::operation_not_permitted));
    busy.context->after_fork(GetParam().make());
    waiting.cancel();
    busy.job.cancel();
    EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done && canceled > 0; }));
    turns(*busy.context);
    EXPECT_EQ(canceled, 1);
  }));
  busy.gate.open();
  EXPECT_TRUE(run_until(*busy.context, [&] { return busy.done; }));
}

// Looks like the look-up of a name, because it has the trait of the work of resolve().
struct LookUp {
  static constexpr bool kIsLookUp = true;
  std::shared_future<void> opened;
  void operator()() const { opened.wait(); }
};

TEST_P(Blocking, LookUpsLeaveThreadsForTheRest) {
  Context context(GetParam().make(), {.worker_threads = 2});
  std::promise<void> go;
  const std::shared_future<void> opened = go.get_future().share();
  int looked_up = 0;
  int done = 0;
  for (int i = 0; i < 3; ++i) context.run_blocking(LookUp{opened}, [&](Outcome<void>) { ++looked_up; });
  for (int i = 0; i < 5; ++i) context.run_blocking([] {}, [&](Outcome<void>) { ++done; });
  EXPECT_TRUE(run_until(context, [&] { return done == 5; }));
  EXPECT_EQ(looked_up, 0);
  go.set_value();
  EXPECT_TRUE(run_until(context, [&] { return looked_up == 3; }));
}

// The objects that a task owns may use the context when the context drops the task.
TEST_P(Blocking, WhatIsDroppedWithTheContextMayCallIt) {
  class Caller {
   public:
    Caller(Context& context, int& calls) : context_(context), calls_(calls) {}
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller() {
      context_.set_keepalive(true);
      context_.post([] {});
      context_.run_blocking([] {}, [](Outcome<void>) {});
      ++calls_;
    }

   private:
    Context& context_;
    int& calls_;
  };
  int calls = 0;
  {
    Context context(GetParam().make());
    std::promise<void> worked;
    context.post([held = std::make_unique<Caller>(context, calls)] {});
    context.run_blocking([&] { worked.set_value(); },
                         [held = std::make_unique<Caller>(context, calls)](Outcome<void>) {});
    context.remote().post([held = std::make_unique<Caller>(context, calls)] {});
    worked.get_future().wait();
  }
  EXPECT_EQ(calls, 3);
}

TEST_P(Blocking, IsRefusedOnAnotherThread) {
  bool asked = false;
  context().post([&] {
    std::thread([&] {
      const Thrown thrown = thrown_by([&] { return context().run_blocking([] {}, [](Outcome<void>) {}); });
      EXPECT_TRUE(is(thrown.code, std::errc::operation_not_permitted));
    }).join();
    asked = true;
    context().stop();
  });
  context().run();
  EXPECT_TRUE(asked);
}

TEST(BlockingOptions, NoThreadsAreRefused) {
  EXPECT_TRUE(
      is(thrown_by([] { return Context(native(), {.worker_threads = 0}).loop(); }).code, std::errc::invalid_argument));
}

TEST(BlockingOutcome, IsOneErrorCode) {
  EXPECT_FALSE(error_code_of(nullptr));
  EXPECT_TRUE(is(error_code_of(std::make_exception_ptr(std::bad_alloc())), std::errc::not_enough_memory));
  EXPECT_TRUE(is(error_code_of(std::make_exception_ptr(1)), std::errc::io_error));
}

}  // namespace
}  // namespace onloop::test
