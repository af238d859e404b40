// Signals as callbacks of a context: together with other contexts and with handlers of the application, and their end.
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Signals : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Signals);

/// A handler of the application. It is installed while this object lives.
class Handler {
 public:
  explicit Handler(int number, int flags = 0) : number_(number) {
    struct sigaction action {};
    action.sa_flags = flags;
    action.sa_handler = [](int) { calls = calls + 1; };
    sigaction(number, &action, &former_);
    calls = 0;
  }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  ~Handler() { sigaction(number_, &former_, nullptr); }
  static inline volatile sig_atomic_t calls = 0;

 private:
  const int number_;
  struct sigaction former_ {};
};

/// A handler that is installed later and calls its predecessor. It is installed while this object lives.
class ChainingHandler {
 public:
  explicit ChainingHandler(int number) : number_(number) {
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int came, siginfo_t* info, void* context) {
      calls = calls + 1;
      former.sa_sigaction(came, info, context);
    };
    calls = 0;
    sigaction(number, nullptr, &former);
    sigaction(number, &action, nullptr);
  }
  ChainingHandler(const ChainingHandler&) = delete;
  ChainingHandler& operator=(const ChainingHandler&) = delete;
  ~ChainingHandler() { sigaction(number_, &former, nullptr); }
  static inline volatile sig_atomic_t calls = 0;
  static inline struct sigaction former {};

 private:
  const int number_;
};

struct sigaction current(int number) {
  struct sigaction action {};
  sigaction(number, nullptr, &action);
  return action;
}
bool is_default(int number) {
  const struct sigaction action = current(number);
  return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL;
}

/// Called while fork() prepares, with what the library has locked by then: it comes first, having been told of later.
void (*preparing_to_fork)() = nullptr;
[[maybe_unused]] const int foreseen = pthread_atfork(
    [] {
      if (preparing_to_fork) preparing_to_fork();
    },
    nullptr, nullptr);

TEST_P(Signals, CallsBackInATurnAndDoesNotWhatItWouldByDefault) {
  int came = 0;
  const Signal signal = context().on_signal(SIGTERM, [&] { ++came; });
  EXPECT_TRUE(signal.active());
  turns(context());
  EXPECT_EQ(came, 0);
  raise(SIGTERM);
  EXPECT_EQ(came, 0) << "never inside the handler";
  ASSERT_TRUE(run_until(context(), [&] { return came == 1; }));
  raise(SIGTERM);
  ASSERT_TRUE(run_until(context(), [&] { return came == 2; }));
  turns(context());
  EXPECT_EQ(came, 2);
}

TEST_P(Signals, ManyBeforeATurnAreOne) {
  int came = 0;
  const Signal signal = context().on_signal(SIGUSR1, [&] { ++came; });
  for (int i = 0; i < 100; ++i) raise(SIGUSR1);
  ASSERT_TRUE(run_until(context(), [&] { return came > 0; }));
  turns(context());
  EXPECT_EQ(came, 1);
}

TEST_P(Signals, EachOfSeveralWatchesIsCalledInOrderAndOtherSignalsAreTheirOwn) {
  std::string came;
  const Signal one = context().on_signal(SIGUSR1, [&] { came += '1'; });
  const Signal two = context().on_signal(SIGUSR2, [&] { came += '2'; });
  const Signal three = context().on_signal(SIGUSR1, [&] { came += '3'; });
  raise(SIGUSR1);
  ASSERT_TRUE(run_until(context(), [&] { return came.size() == 2; }));
  EXPECT_EQ(came, "13");
  raise(SIGUSR2);
  ASSERT_TRUE(run_until(context(), [&] { return came.size() == 3; }));
  EXPECT_EQ(came, "132");
}

TEST_P(Signals, TwoContextsGetItBoth) {
  Context one{GetParam().make()};
  Context two{GetParam().make()};
  int first = 0;
  int second = 0;
  const Signal in_one = one.on_signal(SIGUSR1, [&] { ++first; });
  const Signal in_two = two.on_signal(SIGUSR1, [&] { ++second; });
  raise(SIGUSR1);
  ASSERT_TRUE(run_until(one, [&] { return first == 1; }));
  ASSERT_TRUE(run_until(two, [&] { return second == 1; }));
}

TEST_P(Signals, ComesFromAnyThread) {
  int came = 0;
  const Signal signal = context().on_signal(SIGUSR1, [&] {
    ++came;
    EXPECT_TRUE(context().loop().name().size() > 0);
  });
  std::thread other([] { raise(SIGUSR1); });
  ASSERT_TRUE(run_until(context(), [&] { return came == 1; }));
  other.join();
}

TEST_P(Signals, AHandlerThatWasThereIsCalledAndIsAloneAgainAfterTheLast) {
  const Handler before(SIGUSR1);
  Context context{GetParam().make()};
  int came = 0;
  {
    const Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
    Signal second = context.on_signal(SIGUSR1, [&] { ++came; });
    raise(SIGUSR1);
    EXPECT_EQ(Handler::calls, 1);
    ASSERT_TRUE(run_until(context, [&] { return came == 2; }));
    second.cancel();
    EXPECT_FALSE(second.active());
    raise(SIGUSR1);
    EXPECT_EQ(Handler::calls, 2);
    ASSERT_TRUE(run_until(context, [&] { return came == 3; }));
  }
  raise(SIGUSR1);
  EXPECT_EQ(Handler::calls, 3);
  turns(context);
  EXPECT_EQ(came, 3);
}

TEST_P(Signals, AHandlerThatComesLaterTakesItAndStays) {
  int came = 0;
  Signal signal = context().on_signal(SIGUSR1, [&] { ++came; });
  {
    const Handler later(SIGUSR1);
    raise(SIGUSR1);
    EXPECT_EQ(Handler::calls, 1);
    signal.cancel();
    raise(SIGUSR1);
    EXPECT_EQ(Handler::calls, 2) << "the end of the watch left it alone";
  }
  // The handler has restored ours. Below ours was the default action.
  EXPECT_TRUE(in_child([] {
                raise(SIGUSR1);
                FAIL() << "the signal's default was not done";
              }) == false);
  const Signal again = context().on_signal(SIGUSR1, [&] { ++came; });
  raise(SIGUSR1);
  ASSERT_TRUE(run_until(context(), [&] { return came == 1; }));
}

TEST_P(Signals, AgainBeneathAHandlerThatCallsItsPredecessorEachIsCalledOnce) {
  const Handler before(SIGUSR1);
  Context context{GetParam().make()};
  int came = 0;
  Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
  {
    const ChainingHandler later(SIGUSR1);
    signal.cancel();
    signal = context.on_signal(SIGUSR1, [&] { ++came; });
    raise(SIGUSR1);
    EXPECT_EQ(ChainingHandler::calls, 1);
    EXPECT_EQ(Handler::calls, 1);
    ASSERT_TRUE(run_until(context, [&] { return came == 1; }));
  }
  raise(SIGUSR1);
  EXPECT_EQ(ChainingHandler::calls, 1) << "it is gone";
  EXPECT_EQ(Handler::calls, 2);
  ASSERT_TRUE(run_until(context, [&] { return came == 2; }));
  signal.cancel();
  raise(SIGUSR1);
  EXPECT_EQ(Handler::calls, 3);
  EXPECT_FALSE(current(SIGUSR1).sa_flags & SA_SIGINFO) << "it is alone again";
}

TEST_P(Signals, AHandlerThatCallsItsPredecessorStaysWhenNobodyWatchesAnyMore) {
  Signal signal = context().on_signal(SIGURG, [] {});  // which by default does nothing
  {
    const ChainingHandler later(SIGURG);
    signal.cancel();
    raise(SIGURG);
    raise(SIGURG);
    EXPECT_EQ(ChainingHandler::calls, 2);
  }
  signal = context().on_signal(SIGURG, [] {});
  signal.cancel();
  EXPECT_TRUE(is_default(SIGURG));
}

TEST_P(Signals, WorkAgainWhereTheirHandlerWasReplacedByTheDefault) {
  int came = 0;
  Signal signal = context().on_signal(SIGUSR1, [&] { ++came; });
  const struct sigaction by_default {};
  sigaction(SIGUSR1, &by_default, nullptr);
  signal.cancel();
  signal = context().on_signal(SIGUSR1, [&] { ++came; });
  raise(SIGUSR1);
  ASSERT_TRUE(run_until(context(), [&] { return came == 1; }));
}

TEST_P(Signals, AHandlerThatLeavesByAJumpDoesNotMakeThemDeaf) {
  static thread_local sigjmp_buf out;
  struct sigaction jumping {
  }, former{};
  jumping.sa_handler = [](int) { siglongjmp(out, 1); };
  sigaction(SIGUSR1, &jumping, &former);
  {
    Context context{GetParam().make()};
    int came = 0;
    const Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
    std::atomic<int> wanted{1};
    std::thread other([&] {  // the thread of the context must not jump out of a handler
      const auto raise_once = [] {
        if (sigsetjmp(out, 1) == 0) raise(SIGUSR1);
      };
      raise_once();
      while (wanted != 2) sched_yield();
      raise_once();
    });
    EXPECT_TRUE(run_until(context, [&] { return came == 1; }));
    wanted = 2;
    EXPECT_TRUE(run_until(context, [&] { return came == 2; }));
    other.join();
  }
  sigaction(SIGUSR1, &former, nullptr);
}

TEST_P(Signals, CallsAreRestartedAsTheHandlerThatWasThereWantsItElseAlways) {
  Context context{GetParam().make()};
  for (const int flag : {0, SA_RESTART}) {
    const Handler before(SIGUSR1, flag);
    const Signal signal = context.on_signal(SIGUSR1, [] {});
    EXPECT_EQ(current(SIGUSR1).sa_flags & SA_RESTART, flag);
  }
  const Signal signal = context.on_signal(SIGUSR1, [] {});
  EXPECT_TRUE(current(SIGUSR1).sa_flags & SA_RESTART);
}

TEST_P(Signals, ChildrenThatNobodyWaitsForAreStillReapedByThemselves) {
  struct sigaction ignoring {
  }, former{};
  ignoring.sa_handler = SIG_IGN;
  sigaction(SIGCHLD, &ignoring, &former);
  {
    Context context{GetParam().make()};
    int came = 0;
    const Signal signal = context.on_signal(SIGCHLD, [&] { ++came; });
    const pid_t child = fork();
    if (child == 0) _exit(0);
    ASSERT_TRUE(run_until(context, [&] { return came > 0; }));
    EXPECT_EQ(waitpid(child, nullptr, 0), -1);
    EXPECT_EQ(errno, ECHILD);
  }
  sigaction(SIGCHLD, &former, nullptr);
}

TEST_P(Signals, TheirEndsRestoreTheDefault) {
  Context context{GetParam().make()};
  {
    const Signal signal = context.on_signal(SIGUSR2, [] {});
    EXPECT_FALSE(is_default(SIGUSR2));
  }
  EXPECT_TRUE(is_default(SIGUSR2));
  Signal outlives;
  {
    Context other{GetParam().make()};
    outlives = other.on_signal(SIGUSR2, [] {});
  }
  EXPECT_FALSE(outlives.active());
  EXPECT_TRUE(is_default(SIGUSR2));
}

TEST_P(Signals, MayBeCancelledAndReplacedAndDestroyTheContextInCallbacks) {
  auto context = std::make_unique<Context>(GetParam().make());
  int came = 0;
  Signal one, two, three;
  one = context->on_signal(SIGUSR1, [&, held = std::make_shared<int>(1)] {
    ++came;
    one.cancel();
    two = {};
    three = context->on_signal(SIGUSR1, [&] { context.reset(); });
    EXPECT_EQ(*held, 1);
  });
  two = context->on_signal(SIGUSR1, [&] { FAIL() << "was cancelled in the same turn"; });
  raise(SIGUSR1);
  ASSERT_TRUE(run_until(*context, [&] { return came == 1; }));
  turns(*context);
  raise(SIGUSR1);
  while (context) turns(*context, 1);
  EXPECT_FALSE(three.active());
  EXPECT_TRUE(is_default(SIGUSR1));
}

TEST_P(Signals, ComesAlongInAMove) {
  Context context{GetParam().make()};
  std::string came;
  const Signal one = context.on_signal(SIGUSR1, [&] {
    came += '1';
    context.move_to(came.size() % 4 == 1 ? native() : GetParam().make());
  });
  const Signal two = context.on_signal(SIGUSR1, [&] { came += '2'; });
  for (std::size_t size = 2; size <= 8; size += 2) {
    raise(SIGUSR1);
    ASSERT_TRUE(run_until(context, [&] { return came.size() == size; }));
  }
  EXPECT_EQ(came, "12121212");
  raise(SIGUSR1);
  context.move_to(native_poll());
  ASSERT_TRUE(run_until(context, [&] { return came.size() == 10; }));
}

TEST_P(Signals, WhatCantBeWatchedIsRefusedInWords) {
  for (const int number : {0, -1, 65, SIGKILL, SIGSTOP, SIGSEGV}) {
    const Thrown thrown = thrown_by([&] { return context().on_signal(number, [] {}); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << number;
    EXPECT_NE(thrown.words.find("watch signal " + std::to_string(number)), std::string::npos) << thrown.words;
  }
}

TEST_P(Signals, WatchesComeAndGoWhileSignalsDo) {
  std::atomic<bool> over{false};
  const Signal kept = context().on_signal(SIGUSR1, [] {});
  std::thread sender([&] {
    while (!over) raise(SIGUSR1);
  });
  for (int i = 0; i < 200; ++i) {
    const Signal signal = context().on_signal(SIGUSR1, [] {});
    turns(context(), 1);
  }
  over = true;
  sender.join();
}

TEST_P(Signals, AWatchThatBeginsWhileTheSignalComesStays) {
  Context context{GetParam().make()};
  std::atomic<bool> over{false};
  const auto send = [&over] {
    while (!over) raise(SIGURG);  // which by default does nothing
  };
  std::thread one(send);
  std::thread two(send);
  for (int i = 0; i < 20000 && !::testing::Test::HasFailure(); ++i) {
    const Signal signal = context.on_signal(SIGURG, [] {});
    for (int moment = 0; moment < 5; ++moment) EXPECT_FALSE(is_default(SIGURG)) << "after " << i;
  }
  over = true;
  one.join();
  two.join();
}

TEST_P(Signals, AHandlerThatWasThereIsWholeWhileWatchesComeAndGo) {
  const Handler before(SIGUSR1);
  Context context{GetParam().make()};
  std::atomic<bool> over{false};
  std::thread sender([&] {
    while (!over) raise(SIGUSR1);
  });
  for (int i = 0; i < 500; ++i) const Signal signal = context.on_signal(SIGUSR1, [] {});
  over = true;
  sender.join();
}

TEST_P(Signals, AChildEndsThemWhateverOtherThreadsDidWhenItWasForked) {
  Context context{GetParam().make()};
  std::vector<Signal> many;  // so that the other thread is in the handler nearly always
  for (int i = 0; i < 500; ++i) many.push_back(context.on_signal(SIGUSR1, [] {}));
  std::atomic<bool> over{false};
  std::thread sender([&] {
    while (!over) raise(SIGUSR1);
  });
  for (int i = 0; i < 10 && !::testing::Test::HasFailure(); ++i) {
    EXPECT_TRUE(in_child([&] {
      alarm(10);
      context.after_fork(GetParam().make());
      many.clear();
      alarm(0);
    })) << "the "
        << i << "th child";
  }
  over = true;
  sender.join();
}

TEST_P(Signals, AHandlerThatWasThereMayForkWhenever) {
  EXPECT_TRUE(in_child([] {
    alarm(10);
    struct sigaction forking {};
    static volatile sig_atomic_t forks = 0;
    forking.sa_handler = [](int) {
      const pid_t child = fork();
      if (child == 0) _exit(0);
      if (waitpid(child, nullptr, 0) == child) forks = forks + 1;
    };
    sigaction(SIGUSR1, &forking, nullptr);
    Context context{GetParam().make()};
    int came = 0;
    const Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
    preparing_to_fork = [] {
      preparing_to_fork = nullptr;
      raise(SIGUSR1);
    };
    const pid_t child = fork();
    if (child == 0) _exit(0);
    EXPECT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_EQ(forks, 1);
    EXPECT_TRUE(run_until(context, [&] { return came == 1; }));
    alarm(0);
  }));
}

TEST_P(Signals, AChildHasItsOwn) {
  Context context{GetParam().make()};
  int came = 0;
  const Signal signal = context.on_signal(SIGUSR1, [&] { ++came; });
  EXPECT_TRUE(in_child([&] {
    raise(SIGUSR1);  // the context does not yet belong to the child, so the signal is only noted
    context.after_fork(GetParam().make());
    EXPECT_TRUE(run_until(context, [&] { return came == 1; }));
    const Signal another = context.on_signal(SIGUSR1, [&] { ++came; });
    raise(SIGUSR1);
    EXPECT_TRUE(run_until(context, [&] { return came == 3; }));
  }));
  turns(context);
  EXPECT_EQ(came, 0) << "the parent noticed";
}

}  // namespace
}  // namespace onloop::test
