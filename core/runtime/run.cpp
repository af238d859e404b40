// How a Runtime runs its loop, and how the loop's up-calls and waits lead to turns.

#include <poll.h>

#include <cerrno>
#include <string>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

namespace {

[[noreturn, gnu::noinline]] void wait_failed(int error) {
  throw_error(error, "wait on the loop");
}

/// One turn of the loop itself, whose up-calls only collect.
inline void wait(LoopAttachment& loop, std::int64_t max_wait_ns) {
  if (const int error = loop.turn(max_wait_ns); error < 0) wait_failed(error);
}

}  // namespace

/// While one lives, up-calls come from a loop that this context drives, and only collect. A move ends that for all
/// frames on the stack.
class Runtime::Collecting {
 public:
  explicit Collecting(Runtime& runtime) noexcept
      : runtime_(runtime), moves_(runtime.cutovers()), was_collecting_(std::exchange(runtime.collecting_, true)) {}
  Collecting(const Collecting&) = delete;
  Collecting& operator=(const Collecting&) = delete;
  ~Collecting() { runtime_.collecting_ = was_collecting_ && moves_ == runtime_.cutovers(); }

 private:
  Runtime& runtime_;
  const std::uint64_t moves_;
  const bool was_collecting_;
};

// ---- the application drives the context ----

void Runtime::run() {
  check_thread();
  refuse_forked();
  if (!attachments_.driven().owned()) {
    throw_error(ENOTSUP, "run a loop that is the application's: the application runs it");
  }
  if (running_) throw_error(EBUSY, "run a context that is running already");
  turn_.signals().look_after_handlers();

  const Held<Runtime> held(*this);
  const ThreadBinding::Frame frame(thread_);
  thread_.bind();
  running_ = true;
  TurnBudget* const outer = turn_.set_current_budget(nullptr);  // of a turn by dispatch()
  const AtScopeExit at_end([this, outer] {
    turn_.set_current_budget(outer);
    run_ended();
  });

  do {  // again on the next loop after a move, if we own that one, too
    turn_.due().clear(Due::kSwitched);
    run_driven();
  } while (!turn_.due().any(Due::kLeave) && turn_.due().any(Due::kSwitched) && attachments_.driven().owned());
}

/// Until it is to stop, or was left for another loop.
void Runtime::run_driven() {
  LoopAttachment& driven = attachments_.driven();
  if (driven.can_turn()) {
    arms_before_wait_ = !deadline_.uses_timerfd();
    if (options_.around) {
      turns([this] { serve_within_budget(); });
    } else {
      turns([this] { turn_.serve(); });
    }
    return;
  }
  if (!driven.can_run()) throw_error(ENOTSUP, "run a loop whose shim has neither turn nor run");
  if (turn_.due().any(Due::kLeave)) return;
  arm_if_due();
  const int error = driven.run();
  if (escaped_) std::rethrow_exception(std::exchange(escaped_, nullptr));
  if (error < 0) throw_error(error, "run the loop");
}

void Runtime::run_ended() noexcept {
  running_ = stop_ = arms_before_wait_ = false;
  if (keepalive_ && alive()) turn_.due().clear(Due::kLeave);
  release_thread();
  turn_.due().set(Due::kDeadline);
  arm_if_due();  // for an application that goes on with fd() and dispatch()
  if (fd_given_) announce_rest();
}

/// Turns until something says leave, or the loop was left for another.
template <class Serve>
inline void Runtime::turns(Serve serve) try {
  const Collecting collecting(*this);
  for (;;) {
    if (turn_.due().any(Due::kLeave | Due::kDeadline | Due::kSwitched)) {
      if (turn_.due().any(Due::kLeave | Due::kSwitched)) return;
      arm_if_due();
    }
    wait(attachments_.driven(), -1);
    serve();
  }
} catch (...) {
  blamed_ = nullptr;                // the caller of run() gets the exception
  turn_.due().set(Due::kDeadline);  // there may be sources left
  throw;
}

void Runtime::dispatch() {
  check_thread();
  refuse_forked();
  if (!attachments_.driven().owned() || !attachments_.driven().can_turn()) {
    throw_error(ENOTSUP, "dispatch a loop that is the application's, or whose shim has no turn");
  }
  thread_.bind();
  const Held<Runtime> held(*this);
  const ThreadBinding::Frame frame(thread_);
  const AtScopeExit at_end([this] {
    arm_if_due();
    if (fd_given_) announce_rest();
  });
  try {
    const Collecting collecting(*this);
    arm_if_due();
    wait(attachments_.driven(), 0);
    serve_within_budget();
  } catch (...) {
    blamed_ = nullptr;
    turn_.due().set(Due::kDeadline);
    throw;
  }
}

void Runtime::stop() noexcept {
  stop_ = true;
  turn_.due().set(Due::kLeave);
  stop_driven();
}

/// Needed only for a loop's own run call that is on the stack: one that was left meanwhile returns by itself.
void Runtime::stop_driven() noexcept {
  if (running_ && !turn_.due().any(Due::kSwitched) && !attachments_.driven().can_turn()) attachments_.driven().stop();
}

void Runtime::set_keepalive(bool on) noexcept {
  if (ending_) return;
  // A loop that has only run and stop was stopped when this was turned off, so run() has to run it again.
  if (on && !keepalive_ && running_ && !attachments_.driven().can_turn()) turn_.due().set(Due::kSwitched);
  keepalive_ = on;
  if (stop_ || !on) {
    turn_.due().set(Due::kLeave);
  } else {
    turn_.due().clear(Due::kLeave);
  }
  attachments_.driven().keepalive(on);
  if (!on) stop_driven();
}

int Runtime::fd() {
  LoopAttachment& driven = attachments_.driven();
  const int set = driven.owned() && driven.can_turn() ? driven.fd() : -ENOSYS;
  if (set < 0) {
    throw_error(ENOTSUP, "get a descriptor for the loop \"" + std::string(loop().name()) + "\", which has none");
  }
  deadline_.use_timerfd();
  arms_before_wait_ = false;
  turn_.due().set(Due::kDeadline);
  arm_if_due();
  fd_given_ = true;
  return set;
}

/// A set that watches our descriptor edge-triggered hears of it only when something in it becomes ready. A dispatch
/// that leaves something ready, an end of file behind the last bytes or what a callback has not read, therefore writes
/// to the eventfd. The kernel alone knows what is left, so it is asked.
void Runtime::announce_rest() noexcept {
  if (!alive() || !attachments_.driven().owned()) return;
  pollfd set{.fd = attachments_.driven().fd(), .events = POLLIN, .revents = 0};
  if (set.fd >= 0 && ::poll(&set, 1, 0) != 0) mailbox_->nudge();
}

// ---- a loop drives the context ----

/// A turn for the end of which somebody waits: the application, or the loop that it runs. Whatever the turn leaves
/// makes the next one due at once.
void Runtime::serve_within_budget() {
  const auto serve = [this] {
    // If the deadline was set to the past, the turn that it asks for is this one, also if a descriptor's up-call came
    // first. A host under whose priorities the deadline waits would otherwise keep the timers waiting.
    if (deadline_.is_at_once()) turn_.due().set(Due::kTimers);
    turn_.serve_within_budget();
  };
  if (!options_.around) {
    serve();
  } else if (turn_.has_events()) {
    options_.around(serve);
  }
  turn_.due().set(Due::kDeadline);
}

/// The loop calls because a source is ready, or because of the deadline.
void Runtime::serve_upcall() noexcept {
  const Held<Runtime> held(*this);
  const ThreadBinding::Frame frame(thread_);
  thread_.bind_in_upcall();
  const bool in_run = running_ && attachments_.driven().owned();
  try {
    serve_within_budget();
  } catch (...) {
    caught(std::current_exception(), in_run);
  }
  turn_.due().set(Due::kDeadline);
  arm_if_due();
}

/// The loop calls because the native set that it hosts is ready. One turn of the set collects what is ready in it, its
/// deadline and its waker among that.
void Runtime::serve_set() noexcept {
  const Held<Runtime> held(*this);
  const ThreadBinding::Frame frame(thread_);
  if (!collecting_) thread_.bind_in_upcall();
  int error = 0;
  {
    const Collecting collecting(*this);
    error = attachments_.sources().turn(0);
  }
  const std::uint64_t moves = cutovers();
  if (error < 0) report(error_of(error), "wait on the native set");
  if (alive() && !collecting_ && cutovers() == moves) serve_upcall();
}

void Runtime::caught(const std::exception_ptr& exception, bool in_run) noexcept {
  Source* culprit = blamed_.get();
  std::string words = "a callback threw";
  try {
    if (in_run) {
      escaped_ = exception;
      if (alive()) stop_driven();
    } else if (options_.on_exception) {
      options_.on_exception(exception);
    } else {
      if (culprit && culprit->runtime_ && culprit->on_exception(error_of(ECONNABORTED))) {
        words += ", its connection is aborted";
      }
      std::rethrow_exception(exception);
    }
  } catch (const std::exception& thrown) {
    report(error_of(ECONNABORTED), words + " (" + thrown.what() + ")");
  } catch (...) {
    report(error_of(ECONNABORTED), words);
  }
  blamed_ = nullptr;
}

}  // namespace onloop::detail
