#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <thread>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// A context with an on_wake that counts its calls.
struct Woken {
  explicit Woken(const Loop& loop, std::function<void()> on_wake = {})
      : context(loop, options([this, on_wake = std::move(on_wake)] {
                  ++wakes;
                  if (on_wake) on_wake();
                })) {}
  static ContextOptions options(std::function<void()> on_wake) {
    ContextOptions options;
    options.on_wake = std::move(on_wake);
    return options;
  }
  int wakes = 0;
  Context context;
};

}  // namespace

TEST_P(OnContext, C55_a_wake_before_the_wait_ends_it) {
  Woken woken{loop(), [&] { finish(); }};
  woken.context.remote().wake();
  run(woken.context);
  EXPECT_EQ(woken.wakes, 1);
  turns(woken.context);
  EXPECT_EQ(woken.wakes, 1);
}

TEST_P(OnContext, C56_a_wake_during_the_wait_ends_it) {
  Woken woken{loop(), [&] { finish(); }};
  std::atomic<bool> iterating{false};
  const Timer started = woken.context.timer(0ns, [&] { iterating = true; });
  std::thread other{[&, remote = woken.context.remote()] {
    iterating.wait(false);
    remote.wake();
  }};
  const Timer notify = woken.context.timer(1ms, [&] { iterating.notify_all(); });
  run(woken.context);
  other.join();
  EXPECT_EQ(woken.wakes, 1);
}

TEST_P(OnContext, C57_a_storm_coalesces_to_at_least_one_call_after_the_last) {
  constexpr int kThreads = 4;
  constexpr int kWakes = 2000;
  std::atomic<int> sent{0};
  int seen_at_last_call = 0;
  Woken woken{loop(), [&] {
                seen_at_last_call = sent.load();
                if (seen_at_last_call == kThreads * kWakes) finish();
              }};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, remote = woken.context.remote()] {
      for (int i = 0; i < kWakes; ++i) {
        ++sent;
        remote.wake();
      }
    });
  }
  run(woken.context);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen_at_last_call, kThreads * kWakes);
  EXPECT_LE(woken.wakes, kThreads * kWakes);
}

TEST_P(OnContext, C57_a_thousand_wakes_before_a_turn_are_one_call) {
  Woken woken{loop()};
  const Remote remote = woken.context.remote();
  for (int i = 0; i < 1000; ++i) remote.wake();
  EXPECT_TRUE(until(woken.context, [&] { return woken.wakes > 0; }));
  turns(woken.context);
  EXPECT_EQ(woken.wakes, 1);
}

TEST_P(OnContext, C58_a_wake_inside_the_wake_callback_is_not_lost) {
  std::optional<Remote> remote;
  int calls = 0;
  Woken woken{loop(), [&] {
                if (++calls < 5) {
                  remote->wake();
                } else {
                  finish();
                }
              }};
  remote = woken.context.remote();
  remote->wake();
  run(woken.context);
  EXPECT_EQ(woken.wakes, 5);
}

TEST_P(OnContext, C59_wake_and_post_never_block_though_nobody_iterates) {
  Woken woken{loop()};
  const Remote remote = woken.context.remote();
  int ran = 0;
  for (int i = 0; i < 100'000; ++i) remote.wake();
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(remote.post([&] { ++ran; }));
  EXPECT_TRUE(until(woken.context, [&] { return ran == 1000; }));
}

TEST_P(OnContext, C59_wake_is_async_signal_safe_and_leaves_errno) {
  static std::optional<Remote> remote;
  Woken woken{loop(), [&] { finish(); }};
  remote = woken.context.remote();
  struct sigaction former {};
  struct sigaction action {};
  action.sa_handler = [](int) { remote->wake(); };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &former), 0);
  errno = EXDEV;
  EXPECT_EQ(::raise(SIGUSR1), 0);
  EXPECT_EQ(errno, EXDEV);
  run(woken.context);
  ::sigaction(SIGUSR1, &former, nullptr);
  remote.reset();
  EXPECT_EQ(woken.wakes, 1);
}

TEST_P(OnContext, C60_posts_from_many_threads_all_run_each_threads_in_order) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 1000;
  Context context{loop()};
  const auto here = std::this_thread::get_id();
  std::vector<int> next(kThreads, 0);
  int ran = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t, remote = context.remote()] {
      for (int i = 0; i < kTasks; ++i) {
        EXPECT_TRUE(remote.post([&, t, i] {
          EXPECT_EQ(next[static_cast<std::size_t>(t)]++, i);
          EXPECT_EQ(std::this_thread::get_id(), here);
          if (++ran == kThreads * kTasks) finish();
        }));
      }
    });
  }
  run(context);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ran, kThreads * kTasks);
}

TEST_P(OnContext, C60_tasks_that_tasks_post_run_in_later_turns) {
  Context context{loop()};
  int depth = 0;
  bool io = false;
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) { io = true; });
  std::function<void()> deeper = [&] {
    if (++depth < 50) {
      context.post([&] { deeper(); });
    } else {
      finish();
    }
  };
  context.post([&] { deeper(); });
  run(context);
  EXPECT_EQ(depth, 50);
  EXPECT_TRUE(io) << "tasks that post tasks starved I/O";
}

}  // namespace onloop::conformance
