#include <atomic>
#include <optional>
#include <thread>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {

// Under ThreadSanitizer this proves that a Remote may race with the end of the context.
TEST_P(OnContext, C61_post_and_wake_may_race_the_contexts_destruction) {
  for (int round = 0; round < 20; ++round) {
    std::optional<Context> context{std::in_place, loop()};
    std::atomic<int> accepted{0};
    std::atomic<bool> refused{false};
    std::atomic<int> over{0};  // tasks that ran, or that were destroyed without running
    struct Counted {
      explicit Counted(std::atomic<int>& its_count) : count(its_count) {}
      Counted(const Counted&) = delete;
      Counted& operator=(const Counted&) = delete;
      ~Counted() { ++count; }
      std::atomic<int>& count;
    };
    int made = 0;
    std::thread other{[&, remote = context->remote()] {
      while (!refused) {
        remote.wake();
        ++made;
        if (remote.post([counted = std::make_unique<Counted>(over)] {})) {
          ++accepted;
        } else {
          refused = true;
        }
        accepted.notify_all();
      }
    }};
    accepted.wait(0);
    turns(*context, round % 3);
    context.reset();
    other.join();
    EXPECT_EQ(over, made) << "a task was neither run nor destroyed";
    host_turns();
  }
}

TEST_P(OnContext, C61_a_remote_outlives_its_context_and_says_so) {
  std::optional<Remote> remote;
  bool destroyed = false;
  struct Noted {
    explicit Noted(bool& its_flag) : flag(its_flag) {}
    ~Noted() { flag = true; }
    bool& flag;
  };
  {
    Context context{loop()};
    remote = context.remote();
    EXPECT_TRUE(remote->post([noted = std::make_unique<Noted>(destroyed)] { ADD_FAILURE() << "ran without a turn"; }));
  }
  EXPECT_TRUE(destroyed) << "a task that never ran is destroyed with the context";
  EXPECT_FALSE(remote->post([] { ADD_FAILURE() << "ran without a context"; }));
  remote->wake();
  const Remote copy = *remote;
  EXPECT_FALSE(copy.post([] {}));
}

TEST_P(OnContext, C62_calls_from_another_thread_are_refused_while_the_context_is_bound) {
  Context context{loop()};
  Echo echo;
  Pair pair = socket_pair();
  Connection& connection = context.adopt(pair.near.release(), echo);
  context.post([&] {
    std::thread{[&] {
      const auto refused = [](auto call) { EXPECT_TRUE(is(error_of(call), std::errc::operation_not_permitted)); };
      refused([&] { context.post([] {}); });
      refused([&] { static_cast<void>(context.timer(1ms, [] {})); });
      refused([&] { static_cast<void>(context.watch(0, Interest::read, [](Interest) {})); });
      refused([&] { context.stop(); });
      refused([&] { context.set_keepalive(false); });
      refused([&] { context.listen("127.0.0.1:0", echo); });
      refused([&] { context.connect("127.0.0.1:1", echo); });
      refused([&] { context.release_thread(); });
      refused([&] { connection.write("from elsewhere"); });
      refused([&] { connection.close(); });
    }}.join();
    finish();
  });
  run(context);
  EXPECT_EQ(connection.queued_bytes(), 0u);
}

TEST_P(OnContext, C62_made_on_one_thread_run_on_another_destroyed_after_joining_it) {
  std::optional<Context> context{std::in_place, loop()};
  int ran = 0;
  context->post([&] { ++ran; });
  std::thread{[&] {
    context->post([&] {
      ++ran;
      finish();
    });
    run(*context);
    if (provider().application_drives()) context->release_thread();
  }}.join();
  EXPECT_EQ(ran, 2);
  context->post([] {});
  context.reset();
  host_turns();
}

TEST_P(OnContext, C62_release_thread_hands_a_context_over) {
  Context context{loop()};
  context.post([&] { finish(); });
  run(context);
  context.release_thread();
  int ran = 0;
  std::thread{[&] {
    context.post([&] {
      ++ran;
      finish();
    });
    run(context);
    context.release_thread();
  }}.join();
  EXPECT_EQ(ran, 1);
}

}  // namespace onloop::conformance
