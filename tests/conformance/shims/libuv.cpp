// Runs every case of the kit on the libuv shim, and tests what is special to libuv.

#include <fcntl.h>
#include <sys/resource.h>
#include <uv.h>
#include <onloop/libuv.hpp>
#include <onloop/loop_by_name.hpp>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// The first loop of a process opens a pipe, which libuv keeps until the process ends. It is opened here, so that it
/// does not look like a leak of a test.
const bool kPipeOpened = [] {
  uv_loop_t loop;
  return uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0;
}();

template <class H>
uv_handle_t* handle(H& any) {
  return reinterpret_cast<uv_handle_t*>(&any);
}

/// An application with a libuv loop. It closes the loop at the end. This fails if a guest has left anything on the
/// loop.
class Application : public Provider {
 public:
  explicit Application(Hosting hosting) : hosting_(hosting) {
    EXPECT_TRUE(kPipeOpened);
    EXPECT_EQ(uv_loop_init(&loop_), 0);
    uv_timer_init(&loop_, &end_of_wait_);
    uv_timer_init(&loop_, &due_timer_);
    uv_idle_init(&loop_, &idle_);
    due_timer_.data = idle_.data = this;
  }
  ~Application() override {
    watch_from_application(-1, {});
    uv_close(handle(end_of_wait_), nullptr);
    uv_close(handle(due_timer_), nullptr);
    uv_close(handle(idle_), nullptr);
    uv_run(&loop_, UV_RUN_NOWAIT);
    EXPECT_EQ(uv_loop_close(&loop_), 0) << "case 75: a handle of the guest's is there after one more turn";
  }

  Loop loop() override { return hosted(libuv(&loop_), hosting_); }

  void iterate(Context*, std::chrono::nanoseconds max_wait) override {
    constexpr std::chrono::nanoseconds kSlice = 200ms;  // the longest wait of one iteration, see below
    if (!due_.empty()) uv_timer_start(&due_timer_, run_due, 0, 0);
    // The timer is a referenced handle, because a loop without referenced handles does not poll. The time of libuv is
    // at most a millisecond late.
    const auto wait =
        std::chrono::ceil<std::chrono::milliseconds>(max_wait < 0ns ? kSlice : std::min(max_wait, kSlice));
    uv_update_time(&loop_);
    uv_timer_start(
        &end_of_wait_, [](uv_timer_t* timer) { uv_stop(timer->loop); }, static_cast<std::uint64_t>(wait.count()) + 1,
        0);
    // UV_RUN_ONCE serves the timers that are due, and then blocks nevertheless. An application with nothing else to do
    // wants this, but a test checks its condition after each iteration. So the iteration does not block if a timer is
    // due now. A timer that becomes due later waits for one slice at most.
    const bool blocks = max_wait != 0ns && !timer_is_due();
    uv_run(&loop_, blocks ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    uv_timer_stop(&end_of_wait_);
  }

  void call_from_application(std::function<void()> callback) override { due_.push_back(std::move(callback)); }

  void watch_from_application(int fd, std::function<void()> callback) override {
    if (poll_) uv_close(handle(*poll_), [](uv_handle_t* poll) { delete reinterpret_cast<uv_poll_t*>(poll); });
    poll_ = nullptr;
    on_readable_ = std::move(callback);
    if (fd < 0) return;
    poll_ = new uv_poll_t;
    ASSERT_EQ(uv_poll_init(&loop_, poll_, fd), 0);
    poll_->data = this;
    uv_poll_start(poll_, UV_READABLE,
                  [](uv_poll_t* poll, int, int) { static_cast<Application*>(poll->data)->on_readable_(); });
  }

  int idle_levels() override { return 1; }
  void call_when_idle(int, std::function<void()> callback) override {
    uv_idle_stop(&idle_);
    on_idle_ = std::move(callback);
    if (on_idle_) uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Application*>(idle->data)->on_idle_(); });
  }

  int host_objects() override {
    int count = 0;
    uv_walk(
        &loop_, [](uv_handle_t*, void* counter) { ++*static_cast<int*>(counter); }, &count);
    return count;
  }
  bool kept_alive() override { return uv_loop_alive(&loop_) != 0; }

  [[nodiscard]] uv_loop_t* uv() { return &loop_; }

 private:
  static void run_due(uv_timer_t* timer) {
    auto& due = static_cast<Application*>(timer->data)->due_;
    for (std::size_t left = due.size(); left > 0; --left) {
      const auto callback = std::move(due.front());
      due.pop_front();
      callback();
    }
  }

  bool timer_is_due() {
    bool due = false;
    const auto look = [](uv_handle_t* one, void* found) {
      if (uv_handle_get_type(one) != UV_TIMER || !uv_is_active(one)) return;
      if (uv_timer_get_due_in(reinterpret_cast<uv_timer_t*>(one)) == 0) *static_cast<bool*>(found) = true;
    };
    uv_walk(&loop_, look, &due);
    return due;
  }

  Hosting hosting_;
  uv_loop_t loop_{};
  uv_timer_t end_of_wait_{};
  uv_timer_t due_timer_{};
  uv_idle_t idle_{};
  uv_poll_t* poll_ = nullptr;
  std::deque<std::function<void()>> due_;
  std::function<void()> on_readable_;
  std::function<void()> on_idle_;
};

/// The same application for the cases on the bare ops. One of these cases asks how long a wait of the host itself
/// takes.
class BareApplication : public Application {
 public:
  using Application::Application;
  std::string exception(std::string_view number) override {
    if (number == "68") {
      return "the wait is uv_run's, which counts the time before an interruption again at each later one: too short";
    }
    return Application::exception(number);
  }
};

Loop owned() noexcept {
  return libuv();
}

const std::vector<ProviderCase> kOps{
    make_case<Owned>("libuv", Hosting::direct, &owned),
    make_case<BareApplication>("libuv_foreign", Hosting::direct),
};

const std::vector<ProviderCase> kContexts{
    make_case<Owned>("libuv", Hosting::direct, &owned),
    make_case<Owned>("libuv_aggregate", Hosting::aggregate, &owned),
    make_case<Application>("libuv_foreign", Hosting::direct),
    make_case<Application>("libuv_foreign_aggregate", Hosting::aggregate),
};

}  // namespace

ONLOOP_CONFORMANCE_OPS(Libuv, kOps);
ONLOOP_CONFORMANCE_CONTEXT(Libuv, kContexts);

// ---- what is special to libuv ----

using Libuv = test::CleanTest;

namespace {

/// A guest with one watch on an owned loop. It is for calls that RawGuest does not make.
struct Bare {
  explicit Bare(std::function<void(Bare&)> its_on_ready) : on_ready(std::move(its_on_ready)) {
    const onloop_guest guest{
        .version = ONLOOP_OPS_VERSION,
        .struct_size = sizeof(onloop_guest),
        .context = this,
        .on_ready = [](void* self, std::uint32_t) { static_cast<Bare*>(self)->on_ready(*static_cast<Bare*>(self)); },
        .on_deadline = [](void* self) { static_cast<Bare*>(self)->on_ready(*static_cast<Bare*>(self)); }};
    EXPECT_EQ(ops.attach(&guest, nullptr, &loop), 0);
    EXPECT_EQ(ops.watch_add(loop, pair.near.get(), ONLOOP_WRITE, this, &watch), 0);
  }
  void leave() {
    ops.watch_remove(loop, watch);
    ops.detach(loop);
  }

  const onloop_ops& ops = onloop_shim_libuv;
  const Pair pair = socket_pair();
  onloop_loop* loop = nullptr;
  onloop_watch* watch = nullptr;
  std::function<void(Bare&)> on_ready;
};

}  // namespace

TEST_F(Libuv, no_loop_is_refused_in_words) {
  EXPECT_TRUE(is(error_of([] { static_cast<void>(libuv(nullptr)); }), std::errc::invalid_argument));
}

TEST_F(Libuv, is_there_by_name) {
  const Loop loop = loop_by_name("libuv");
  EXPECT_EQ(loop.name(), "libuv");
  EXPECT_EQ(loop.hosting(), Hosting::aggregate);
  Context context{loop};
  context.post([&] { context.stop(); });
  context.run();
}

TEST_F(Libuv, a_priority_is_refused_in_words) {
  Application application{Hosting::direct};
  EXPECT_TRUE(is(error_of([&] { Context context{application.loop().priority(0)}; }), std::errc::not_supported));
  EXPECT_TRUE(is(error_of([] { Context context{libuv().priority(0)}; }), std::errc::not_supported));
}

// libuv does not define what uv_run() does inside uv_run() of the same loop.
TEST_F(Libuv, C65_a_turn_inside_a_turn_is_refused) {
  int inner = 0;
  Bare guest{[&](Bare& self) { inner = self.ops.turn(self.loop, 0); }};
  EXPECT_EQ(guest.ops.turn(guest.loop, -1), 0);
  EXPECT_EQ(inner, -EBUSY);
  guest.leave();
}

TEST_F(Libuv, a_turn_inside_that_of_another_loop_is_served) {
  int calls = 0;
  Bare inner{[&](Bare&) { ++calls; }};
  Bare outer{[&](Bare&) { EXPECT_EQ(inner.ops.turn(inner.loop, -1), 0); }};
  EXPECT_EQ(outer.ops.turn(outer.loop, -1), 0);
  EXPECT_EQ(calls, 1);
  outer.leave();
  inner.leave();
}

TEST_F(Libuv, a_turn_of_the_applications_loop_is_refused) {
  Application application{Hosting::direct};
  onloop_loop* loop = nullptr;
  const onloop_guest guest{.version = ONLOOP_OPS_VERSION,
                           .struct_size = sizeof(onloop_guest),
                           .context = nullptr,
                           .on_ready = [](void*, std::uint32_t) {},
                           .on_deadline = [](void*) {}};
  ASSERT_EQ(onloop_shim_libuv.attach(&guest, application.uv(), &loop), 0);
  EXPECT_EQ(onloop_shim_libuv.turn(loop, 0), -ENOTSUP);
  onloop_shim_libuv.detach(loop);
}

// The loop must be freed only after its own frame has returned. A sanitizer reports a loop that is freed earlier.
TEST_F(Libuv, C28_detach_inside_an_up_call_of_a_turn_frees_the_loop_after_it) {
  int calls = 0;
  const auto leave = [&](Bare& self) {
    ++calls;
    self.leave();
  };
  Bare in_on_ready{leave};
  EXPECT_EQ(in_on_ready.ops.turn(in_on_ready.loop, -1), 0);
  Bare in_on_deadline{leave};
  EXPECT_EQ(in_on_deadline.ops.deadline_set(in_on_deadline.loop, 1), 0);
  EXPECT_EQ(in_on_deadline.ops.turn(in_on_deadline.loop, -1), 0);
  EXPECT_EQ(calls, 2);
}

TEST_F(Libuv, a_past_deadline_comes_first_in_a_batch_of_an_owned_loop) {
  int calls = 0;
  Bare guest{[&](Bare& self) {
    if (++calls == 1)
      self.ops.watch_remove(
          self.loop, self.watch);  // on_deadline removes the watch, so the watch is not called although it is ready
  }};
  EXPECT_EQ(guest.ops.deadline_set(guest.loop, 1), 0);
  EXPECT_EQ(guest.ops.turn(guest.loop, 0), 0);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(guest.ops.turn(guest.loop, 0), 0);
  EXPECT_EQ(calls, 1);
  guest.ops.detach(guest.loop);
}

TEST_F(Libuv, a_blocking_descriptor_stays_one) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    Application application{hosting};
    const Pair pair = socket_pair();
    const int flags = ::fcntl(pair.near.get(), F_GETFL) & ~O_NONBLOCK;
    ASSERT_EQ(::fcntl(pair.near.get(), F_SETFL, flags), 0);
    Context context{application.loop()};
    const Watch watch = context.watch(pair.near.get(), Interest::read, [](Interest) {});
    application.iterate(&context, 0ns);
    EXPECT_EQ(::fcntl(pair.near.get(), F_GETFL), flags);
  }
}

TEST_F(Libuv, a_descriptor_that_the_application_watches_is_refused_under_direct_hosting) {
  const Pair pair = socket_pair();
  const auto watch = [&](Context& context) { return context.watch(pair.near.get(), Interest::read, [](Interest) {}); };
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    Application application{hosting};
    application.watch_from_application(pair.near.get(), [] {});
    Context context{application.loop()};
    const int before = application.host_objects();
    const std::error_code error = error_of([&] { static_cast<void>(watch(context)); });
    EXPECT_EQ(is(error, std::errc::file_exists), hosting == Hosting::direct) << error.message();
    EXPECT_EQ(application.host_objects(), before);
  }
}

TEST_F(Libuv, an_aggregate_guest_is_one_handle_whatever_it_has) {
  Application application{Hosting::aggregate};
  const int before = application.host_objects();
  Echo echo;
  Context context{application.loop()};
  Pair pair = socket_pair();
  context.adopt(pair.near.release(), echo);
  const Timer timer = context.timer(1h, [] {});
  application.iterate(&context, 0ns);
  EXPECT_EQ(application.host_objects(), before + 1);
}

TEST_F(Libuv, C78_uv_run_returns_by_itself_when_the_context_is_destroyed_or_does_not_count) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    Application application{hosting};
    std::optional<Context> context{std::in_place, application.loop()};
    int ticks = 0;
    const Timer timer = context->every(1ms, [&] {
      if (++ticks == 3) context->set_keepalive(false);
      if (ticks == 4) context.reset();
    });
    uv_run(application.uv(), UV_RUN_DEFAULT);
    EXPECT_EQ(ticks, 3);
    context->set_keepalive(true);
    uv_run(application.uv(), UV_RUN_DEFAULT);
    EXPECT_EQ(ticks, 4);
  }
}

TEST_F(Libuv, C43_a_zero_timer_that_re_arms_itself_lets_uv_run_poll) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    Application application{hosting};
    const Pair pair = socket_pair();
    ASSERT_TRUE(put(pair.far.get()));
    Context context{application.loop()};
    Timer timer;
    int timers = 0;
    std::function<void()> again = [&] {
      ++timers;
      timer = context.timer(0ns, again);
    };
    again();
    int reads = 0;
    application.watch_from_application(pair.near.get(), [&] {
      if (++reads == 10) uv_stop(application.uv());
    });
    uv_run(application.uv(), UV_RUN_DEFAULT);
    EXPECT_GE(timers, 5);
    EXPECT_LE(timers, 100);
  }
}

// A forked child continues with its copy of the loop. libuv aborts if the descriptor of a handle was closed, and it
// refuses a second handle for the same number. The watches of the parent are in an epoll set that both processes share.
TEST_F(Libuv, C84_a_child_may_go_on_with_the_loop) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    for (const bool fork_the_loop_first : {false, true}) {
      Application application{hosting};
      const Pair pair = socket_pair();
      auto context = std::make_unique<Context>(application.loop());
      int calls = 0;
      const auto serve = [&](Interest) { calls += static_cast<int>(take(pair.near.get()).size()); };
      std::optional<Watch> watch{context->watch(pair.near.get(), Interest::read, serve)};
      const Timer timer = context->every(1ms, [] {});
      application.iterate(context.get(), 0ns);
      EXPECT_EQ(in_child([&] {
                  if (fork_the_loop_first && uv_loop_fork(application.uv()) != 0) return false;
                  context.reset();
                  if (!fork_the_loop_first && uv_loop_fork(application.uv()) != 0) return false;
                  for (int i = 0; i < 3; ++i) application.iterate(nullptr, 0ns);
                  return application.host_objects() == 3;  // the handles of the application
                }),
                "");
      EXPECT_EQ(in_child([&] {
                  if (uv_loop_fork(application.uv()) != 0) return false;
                  context->after_fork(application.loop());
                  put(pair.far.get());
                  for (int i = 0; i < 100 && calls == 0; ++i) application.iterate(context.get(), 10ms);
                  context.reset();
                  for (int i = 0; i < 3; ++i) application.iterate(nullptr, 0ns);
                  return calls == 1 && application.host_objects() == 3;
                }),
                "");
      calls = 0;
      ASSERT_TRUE(put(pair.far.get()));
      for (int i = 0; i < 100 && calls == 0; ++i) application.iterate(context.get(), 100ms);
      EXPECT_EQ(calls, 1) << "the child took the watch out of the parent's epoll set";
    }
  }
}

// There is no free descriptor for the decoy. So the handles stay on the loop, do nothing, and are removed when libuv
// calls them.
TEST_F(Libuv, C84_a_child_without_a_descriptor_to_spare_does_not_disturb_the_parent) {
  Application application{Hosting::direct};
  const Pair pair = socket_pair();
  auto context = std::make_unique<Context>(application.loop());
  int calls = 0;
  const Watch watch = context->watch(pair.near.get(), Interest::read, [&](Interest) {
    ++calls;
    take(pair.near.get());
  });
  application.iterate(context.get(), 0ns);
  EXPECT_EQ(in_child([&] {
              rlimit limit{};
              ::getrlimit(RLIMIT_NOFILE, &limit);
              const rlim_t former = std::exchange(limit.rlim_cur, rlim_t{0});
              ::setrlimit(RLIMIT_NOFILE, &limit);
              const int before = application.host_objects();
              context.reset();
              const bool kept = application.host_objects() >= before;
              limit.rlim_cur = former;
              ::setrlimit(RLIMIT_NOFILE, &limit);
              return kept;
            }),
            "");
  ASSERT_TRUE(put(pair.far.get()));
  for (int i = 0; i < 100 && calls == 0; ++i) application.iterate(context.get(), 100ms);
  EXPECT_EQ(calls, 1);
}

}  // namespace onloop::conformance
