// libuv's loop under every case of the kit, and what is special to it.

#include <fcntl.h>
#include <uv.h>
#include <onloop/libuv.hpp>

#include <deque>
#include <optional>

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// The first loop of a process opens a pipe that libuv keeps until the process ends: no leak of a test's.
const bool kPipeOpened = [] {
  uv_loop_t loop;
  return uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0;
}();

template <class H>
uv_handle_t* handle(H& any) {
  return reinterpret_cast<uv_handle_t*>(&any);
}

/// An application with a libuv loop. Closes it at the end, which fails if a guest has left anything there.
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
    constexpr std::chrono::nanoseconds kSlice = 200ms;  // see below
    if (!due_.empty()) uv_timer_start(&due_timer_, run_due, 0, 0);
    // A referenced handle, since a loop without any does not poll; and libuv's time is a millisecond late at most.
    const auto wait =
        std::chrono::ceil<std::chrono::milliseconds>(max_wait < 0ns ? kSlice : std::min(max_wait, kSlice));
    uv_update_time(&loop_);
    uv_timer_start(
        &end_of_wait_, [](uv_timer_t* timer) { uv_stop(timer->loop); }, static_cast<std::uint64_t>(wait.count()) + 1,
        0);
    // UV_RUN_ONCE serves timers that are due and then blocks all the same, as an application with nothing else to do
    // would want it to; a test asks after each iteration. What is due by now is seen here, the rest waits for a slice.
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

/// The same under the bare ops, where a case asks how long a wait of the host's own takes.
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

}  // namespace onloop::conformance
