// What a guest leaves behind. The fixture checks after every case that descriptors, threads, handlers and masks are as
// before. The cases here look at the rest more closely.

#include <signal.h>

#include <memory>
#include <optional>
#include <stdexcept>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
TEST_P(OnContext, C74_handles_in_the_host_are_as_before_attach) {
  provider().iterate(nullptr, 0ns);
  const int before = provider().host_objects();
  {
    Echo echo;
    Context context{loop()};
    EXPECT_GT(provider().host_objects(), before) << "the provider does not count the guest's objects";
    Pair pair = socket_pair();
    context.adopt(pair.near.release(), echo);
    const Timer timer = context.timer(1h, [] {});
    context.post([] {});
    turns(context);
  }
  host_turns(2);  // a host may need another turn to release closed handles
  EXPECT_EQ(provider().host_objects(), before);
}

TEST_P(OnContext, C77_the_applications_own_signal_handlers_timers_and_descriptors_go_on) {
  static int signals = 0;
  signals = 0;
  struct sigaction former {};
  struct sigaction own {};
  own.sa_handler = [](int) { ++signals; };
  ASSERT_EQ(::sigaction(SIGUSR1, &own, &former), 0);
  const Pair pair = socket_pair();
  int timers = 0;
  int reads = 0;
  provider().watch_from_application(pair.near.get(), [&] { reads += static_cast<int>(take(pair.near.get()).size()); });
  const auto use = [&](Context* context) {
    const int before = timers + reads;
    ::raise(SIGUSR1);
    provider().call_from_application([&] { ++timers; });
    put(pair.far.get());
    for (int i = 0; i < 100 && timers + reads < before + 2; ++i) provider().iterate(context, 0ns);
    EXPECT_EQ(timers + reads, before + 2);
  };
  {
    Context context{loop()};
    const Timer timer = context.every(1ms, [] {});
    use(&context);
  }
  use(nullptr);
  provider().watch_from_application(-1, {});
  ::sigaction(SIGUSR1, &former, nullptr);
  EXPECT_EQ(signals, 2);
}

TEST_P(OnContext, C77_the_applications_signal_handler_is_called_while_the_loop_sleeps) {
  static std::optional<Remote> remote;
  struct sigaction former {};
  struct sigaction own {};
  own.sa_handler = [](int) { remote->wake(); };
  ASSERT_EQ(::sigaction(SIGALRM, &own, &former), 0);
  {
    ContextOptions options;
    options.on_wake = [&] { finish(); };
    Context context{loop(), options};
    remote = context.remote();
    const itimerval soon{{0, 0}, {0, 5000}};
    ASSERT_EQ(::setitimer(ITIMER_REAL, &soon, nullptr), 0);
    run(context);
  }
  ::sigaction(SIGALRM, &former, nullptr);
  remote.reset();
}

TEST_P(OnContext, C78_keepalive_decides_whether_the_run_call_returns) {
  Context context{loop()};
  const Timer late = context.timer(1h, [] {});
  const Pair pair = socket_pair();
  const Watch watch = context.watch(pair.near.get(), Interest::read, [](Interest) {});
  if (provider().application_drives()) {
    EXPECT_TRUE(provider().kept_alive());
    context.set_keepalive(false);
    EXPECT_FALSE(provider().kept_alive());
    context.set_keepalive(true);
    EXPECT_TRUE(provider().kept_alive());
    return;
  }
  context.set_keepalive(false);
  context.run();  // returns although there are a timer, a watch and the waker
  context.set_keepalive(true);
  int ticks = 0;
  const Timer timer = context.every(1ms, [&] {
    if (++ticks == 3) context.set_keepalive(false);  // while the loop runs
  });
  context.run();
  EXPECT_EQ(ticks, 3);
}

TEST_P(OnContext, C79_attach_again_after_detach) {
  for (int round = 0; round < 3; ++round) {
    const Pair pair = socket_pair();
    Context context{loop()};
    const Timer timer = context.timer(1ms, [&] { put(pair.far.get()); });
    const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
      if (!take(pair.near.get()).empty()) finish();
    });
    run(context);
  }
}

TEST_P(OnContext, C79_several_contexts_side_by_side) {
  Context one{loop()};
  Context two{loop()};
  int calls = 0;
  one.post([&] {
    ++calls;
    finish();
  });
  run(one);
  two.post([&] {
    ++calls;
    finish();
  });
  run(two);
  EXPECT_EQ(calls, 2);
}

TEST_P(OnContext, C81_signal_mask_and_sigpipe_are_untouched_while_it_runs) {
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  Echo echo;
  Context context{loop()};
  Pair pair = socket_pair();
  Connection& connection = context.adopt(pair.near.release(), echo);
  context.post([&] {
    sigset_t inside;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &inside);
    for (int number = 1; number < NSIG; ++number) {
      EXPECT_EQ(::sigismember(&inside, number), ::sigismember(&before, number)) << "signal " << number;
    }
    struct sigaction action {};
    EXPECT_EQ(::sigaction(SIGPIPE, nullptr, &action), 0);
    EXPECT_EQ(action.sa_handler, SIG_DFL);
    pair.far.reset();
    connection.write("to nobody");  // this would end the process if it raised SIGPIPE
    finish();
  });
  run(context);
  turns(context);
}

TEST_P(OnContext, C82_an_attach_that_fails_for_want_of_descriptors_leaves_nothing_behind) {
  const Loop loop_under_test = loop();
  // First without a limit. UndefinedBehaviorSanitizer needs a pipe when it looks at a type for the first time.
  { const Context first{loop_under_test}; }
  host_turns();
  bool made = false;
  int failures = 0;
  for (int free = 0; !made && free < kMostForALoop; ++free) {
    const test::ProcessState before = test::ProcessState::take();
    {
      const DescriptorLimit limit{free};
      try {
        const Context context{loop_under_test};
        made = true;
      } catch (const std::system_error& error) {
        ++failures;
        EXPECT_TRUE(is(error.code(), std::errc::too_many_files_open)) << error.what();
      }
    }
    host_turns();
    EXPECT_EQ(before.difference_to(test::ProcessState::take()), "") << "with " << free << " descriptors to be had";
  }
  EXPECT_TRUE(made);
  EXPECT_GT(failures, 0);
}

}  // namespace onloop::conformance
