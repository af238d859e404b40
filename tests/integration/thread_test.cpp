// Threads: to which thread a context belongs, and what other threads may do with a Remote.
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Threads : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Threads);
class BoundByDispatch : public ContextTest {};
ONLOOP_ON_LOOPS(BoundByDispatch, loops_with_dispatch());

template <class F>
void elsewhere(F&& call) {
  std::thread(std::forward<F>(call)).join();
}

// The error with which `call` is refused on a thread of its own.
template <class F>
std::error_code refused_elsewhere(F&& call) {
  std::error_code code;
  elsewhere([&] {
    code = thrown_by([&] {
             static_cast<void>(call());
             return 0;
           }).code;
  });
  return code;
}

// A context in run() on a thread of its own.
class Running {
 public:
  explicit Running(Context& context) : context_(context), remote_(context.remote()) {
    std::promise<void> started;
    remote_.post([&] { started.set_value(); });
    thread_ = std::thread([this] { context_.run(); });
    started.get_future().wait();
  }
  void finish() {
    remote_.post([this] { context_.stop(); });
    thread_.join();
  }

 private:
  Context& context_;
  Remote remote_;
  std::thread thread_;
};

void expect_refused(const char* name, const std::function<void()>& call) {
  const Thrown thrown = thrown_by([&] {
    call();
    return 0;
  });
  EXPECT_TRUE(is(thrown.code, std::errc::operation_not_permitted)) << name << ": " << thrown.code.message();
}

TEST_P(Threads, PostsBeyondMaxPostedAreRefusedUntilOneHasRun) {
  ContextOptions options;
  options.max_posted = 3;
  auto context = std::make_unique<Context>(GetParam().make(), options);
  const Remote remote = context->remote();
  int ran = 0;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(remote.post([&] { ++ran; }));
  EXPECT_FALSE(remote.post([&] { ++ran; }));
  EXPECT_TRUE(remote.alive()) << "full, not gone";
  bool finished = false;
  context->run_blocking([] {}, [&](Outcome<void>) { finished = true; });
  EXPECT_TRUE(run_until(*context, [&] { return ran == 3 && finished; }));
  EXPECT_TRUE(remote.post([] {}));
  context.reset();
  EXPECT_FALSE(remote.alive());
  EXPECT_FALSE(remote.post([] {}));
}

TEST_P(Threads, WhileItRunsAnyOtherThreadIsRefused) {
  Recorder recorder;
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  const int fd = ours.get();
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  turns(context);
  Running running(context);
  const std::pair<const char*, std::function<void()>> calls[] = {
      {"listen", [&] { context.listen("127.0.0.1:0", recorder); }},
      {"connect", [&] { context.connect("127.0.0.1:1", recorder); }},
      {"adopt", [&] { context.adopt(fd, recorder); }},
      {"watch", [&] { const Watch watch = context.watch(fd, Interest::read, [](Interest) {}); }},
      {"timer", [&] { const Timer timer = context.timer(1h, [] {}); }},
      {"every", [&] { const Timer timer = context.every(1h, [] {}); }},
      {"post", [&] { context.post([] {}); }},
      {"drain", [&] { context.drain(1h); }},
      {"run", [&] { context.run(); }},
      {"stop", [&] { context.stop(); }},
      {"set_keepalive", [&] { context.set_keepalive(true); }},
      {"release_thread", [&] { context.release_thread(); }},
      {"write", [&] { line.connection.write("text"); }},
      {"pause_reading", [&] { line.connection.pause_reading(); }},
      {"resume_reading", [&] { line.connection.resume_reading(); }},
      {"set_idle_timeout", [&] { line.connection.set_idle_timeout(1h); }},
      {"set_protocol", [&] { line.connection.set_protocol(recorder); }},
      {"shutdown_write", [&] { line.connection.shutdown_write(); }},
      {"close", [&] { line.connection.close(); }},
      {"abort", [&] { line.connection.abort(); }},
      {"emplace_state", [&] { line.connection.emplace_state<int>(1); }},
  };
  for (const auto& [name, call] : calls) expect_refused(name, call);
  if (GetParam().make().ops().turn) expect_refused("dispatch", [&] { context.dispatch(); });
  running.finish();
  line.peer.send("unharmed");
  EXPECT_TRUE(run_until(context, [&] { return recorder.received == "unharmed"; }));
  EXPECT_EQ(recorder.closes, 0);
}

TEST_P(Threads, WhileItRunsItsListenersRefuseAnyOtherThread) {
  Listener& listener = context().listen("127.0.0.1:0", recorder_);
  turns(context());
  Running running(context());
  expect_refused("pause", [&] { listener.pause(); });
  expect_refused("resume", [&] { listener.resume(); });
  expect_refused("close", [&] { listener.close(); });
  running.finish();
  const Peer peer = Peer::connect_to(listener.address());
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
}

TEST_P(Threads, BeforeItHasRunAnyThreadMaySetItUp) {
  Echo echo;
  Context context{GetParam().make()};
  Address address;
  elsewhere([&] { address = context.listen("127.0.0.1:0", echo).address(); });
  Peer peer = Peer::connect_to(address);
  peer.send("hello");
  EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; }));
}

TEST_P(BoundByDispatch, UntilReleaseThread) {
  context().dispatch();
  const auto post = [&] {
    context().post([] {});
    return 0;
  };
  EXPECT_TRUE(is(refused_elsewhere(post), std::errc::operation_not_permitted));
  context().release_thread();
  EXPECT_FALSE(refused_elsewhere(post));
  elsewhere([&] {
    context().dispatch();
    context().release_thread();
  });
  context().dispatch();
}

TEST_P(Threads, CreatedHereRunThereDestroyedHere) {
  Recorder recorder;
  auto context = std::make_unique<Context>(GetParam().make());
  Line line = join(*context, recorder);
  line.peer.send("hello");
  std::thread::id ran_on;
  recorder.when_data = [&](Connection&, std::string_view) {
    ran_on = std::this_thread::get_id();
    context->stop();
  };
  std::thread thread([&] { context->run(); });
  const std::thread::id expected = thread.get_id();
  thread.join();
  EXPECT_EQ(ran_on, expected);
  context.reset();
  line.peer.read();
  EXPECT_TRUE(line.peer.over());
}

TEST_P(BoundByDispatch, DestructionOnAWrongThreadAbortsWithAMessage) {
  const auto misuse = [&] {
    auto bound = std::make_unique<Context>(GetParam().make());
    bound->dispatch();
    elsewhere([&] { bound.reset(); });
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(misuse(), "thread");
}

TEST_P(Threads, EachThreadsPostsRunInTheirOrder) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 500;
  std::vector<std::vector<int>> got(kThreads);
  Context context{GetParam().make()};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&got, t, remote = context.remote()] {
      for (int i = 0; i < kPosts; ++i) EXPECT_TRUE(remote.post([&got, t, i] { got[t].push_back(i); }));
    });
  }
  EXPECT_TRUE(run_until(context, [&] {
    for (const auto& numbers : got) {
      if (numbers.size() < kPosts) return false;
    }
    return true;
  }));
  for (std::thread& thread : threads) thread.join();
  for (const auto& numbers : got) {
    for (int i = 0; i < kPosts; ++i) ASSERT_EQ(numbers[static_cast<std::size_t>(i)], i);
  }
}

TEST_P(Threads, APostWakesALoopThatWaits) {
  Running running(context());
  std::promise<std::thread::id> ran;
  EXPECT_TRUE(context().remote().post([&] { ran.set_value(std::this_thread::get_id()); }));
  EXPECT_NE(ran.get_future().get(), std::this_thread::get_id());
  running.finish();
}

TEST_P(Threads, APostFromTheContextsOwnThreadRunsInALaterTurn) {
  bool ran = false;
  Context context{GetParam().make()};
  const Remote remote = context.remote();
  context.post([&] {
    EXPECT_TRUE(remote.post([&] { ran = true; }));
    EXPECT_FALSE(ran);
  });
  EXPECT_TRUE(run_until(context, [&] { return ran; }));
}

TEST_P(Threads, WakesComeTogetherAndAtLeastOnceAfterTheLast) {
  std::atomic<int> woken{0};
  ContextOptions options;
  options.on_wake = [&] { ++woken; };
  Context context{GetParam().make(), options};
  const Remote remote = context.remote();
  for (int i = 0; i < 10'000; ++i) remote.wake();
  EXPECT_EQ(woken, 0) << "never inside wake()";
  ASSERT_TRUE(run_until(context, [&] { return woken > 0; }));
  turns(context);
  EXPECT_EQ(woken, 1);
  std::atomic<bool> storm_over{false};
  std::thread storm([&] {
    for (int i = 0; i < 10'000; ++i) remote.wake();
    woken = 0;
    remote.wake();
    storm_over = true;
  });
  EXPECT_TRUE(run_until(context, [&] { return storm_over && woken > 0; }));
  storm.join();
}

TEST_P(Threads, NothingStaysInASharedListWhenEachEntryIsFollowedByAWake) {
  constexpr int kThreads = 4;
  constexpr int kEntries = 2000;
  std::mutex mutex;
  std::vector<int> list;
  int served = 0;
  ContextOptions options;
  options.on_wake = [&] {
    const std::lock_guard lock(mutex);
    served += static_cast<int>(std::exchange(list, {}).size());
  };
  Context context{GetParam().make(), options};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, remote = context.remote()] {
      for (int i = 0; i < kEntries; ++i) {
        {
          const std::lock_guard lock(mutex);
          list.push_back(i);
        }
        remote.wake();
      }
    });
  }
  EXPECT_TRUE(run_until(context, [&] { return served == kThreads * kEntries; }));
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Threads, AWakeInsideOnWakeBringsAnother) {
  int woken = 0;
  std::unique_ptr<Context> context;
  ContextOptions options;
  options.on_wake = [&] {
    if (++woken < 3) context->remote().wake();
  };
  context = std::make_unique<Context>(GetParam().make(), options);
  context->remote().wake();
  ASSERT_TRUE(run_until(*context, [&] { return woken >= 3; }));
  turns(*context);
  EXPECT_EQ(woken, 3);
}

TEST_P(Threads, WithoutOnWakeAWakeIsIgnored) {
  Context context{GetParam().make()};
  context.remote().wake();
  turns(context);
  if (GetParam().has_fd) {
    EXPECT_FALSE(readable(context.pollable_fd(), 20ms)) << "it is taken all the same";
  }
}

const Remote* remote_for_the_handler = nullptr;

TEST_P(Threads, ASignalHandlerMayWakeAndErrnoStays) {
  EXPECT_TRUE(in_child([&] {  // a child process, which has its own signal handlers
    int woken = 0;
    ContextOptions options;
    options.on_wake = [&] { ++woken; };
    Context context{GetParam().make(), options};
    const Remote remote = context.remote();
    remote_for_the_handler = &remote;
    struct sigaction action {};
    action.sa_handler = [](int) { remote_for_the_handler->wake(); };
    ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
    bool signalled = false;
    const Timer timer = context.timer(1ms, [&] {
      errno = 1234;
      ::pthread_kill(::pthread_self(), SIGUSR1);
      EXPECT_EQ(errno, 1234);
      errno = 0;
      signalled = true;
    });
    EXPECT_TRUE(run_until(context, [&] { return signalled && woken == 1; }));
  }));
}

TEST_P(Threads, ARemoteOutlivesItsContextAndSaysSo) {
  const auto alive = std::make_shared<int>(0);
  auto context = std::make_unique<Context>(GetParam().make());
  const Remote remote = context->remote();
  const Remote copy = remote;
  EXPECT_TRUE(copy.post([] {}));
  context.reset();
  EXPECT_FALSE(copy.post([alive] { FAIL(); }));
  EXPECT_EQ(alive.use_count(), 1) << "the task is destroyed";
  remote.wake();
  elsewhere([remote] { remote.wake(); });
}

TEST_P(Threads, PostsAndWakesMayRaceWithTheDestruction) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> made{0};
    std::atomic<int> gone{0};
    struct Token {
      explicit Token(std::atomic<int>& made_count, std::atomic<int>& gone_count) : gone(gone_count) { ++made_count; }
      ~Token() { ++gone; }
      std::atomic<int>& gone;
    };
    auto context = std::make_unique<Context>(GetParam().make());
    std::vector<std::thread> threads;
    std::atomic<int> started{0};
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&, remote = context->remote()] {
        ++started;
        while (remote.post([token = std::make_unique<Token>(made, gone)] {})) {
          remote.wake();
          while (made - gone > 64) std::this_thread::yield();  // the context keeps pace
        }
        remote.wake();
      });
    }
    EXPECT_TRUE(run_until(*context, [&] { return started == 3 && gone > 10; }));
    context.reset();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, gone) << "each task was run or destroyed, once";
  }
}

TEST_P(Threads, ManyContextsRunOnManyThreads) {
#ifdef __SANITIZE_THREAD__
  if (GetParam().name.starts_with("libuv")) {
    GTEST_SKIP() << "libuv closes by syscall(SYS_close), which ThreadSanitizer does not see: when another thread opens "
                    "that number again, it takes the two openings for a race";
  }
#endif
  std::vector<std::thread> threads;
  std::atomic<int> served{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Echo echo;
      Recorder client;
      Context context{GetParam().make()};
      client.when_open = [](Connection& connection) { connection.write("hello"); };
      client.when_data = [&](Connection&, std::string_view) {
        if (client.received == "hello") context.stop();
      };
      const Timer guard = context.timer(10s, [&] { context.stop(); });
      context.connect(context.listen("127.0.0.1:0", echo).address().to_string(), client);
      context.run();
      if (client.received == "hello") ++served;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(served, 4);
}

}  // namespace
}  // namespace onloop::test
