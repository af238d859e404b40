// How a Runtime runs its loop, and how the up-calls of a loop lead to turns.

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

/// Runs one turn of the loop itself. The up-calls of this turn only collect sources, and serve nothing.
inline void wait(LoopAttachment& loop, std::int64_t max_wait_ns) {
  if (const int error = loop.turn(max_wait_ns); error < 0) wait_failed(error);
}

}  // namespace

/// While one of these lives, the context itself drives its loop, and the up-calls of the loop only collect sources.
/// When the context moves to another loop, this ends for all frames on the stack.
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
    throw_error(ENOTSUP, "run a context on a foreign loop: the application must run that loop itself");
  }
  if (running_) throw_error(EBUSY, "run a context: run() is on the stack already");
  turn_.signals().look_after_handlers();

  const Held<Runtime> held(*this);
  const ThreadBinding::Frame frame(thread_);
  thread_.bind();
  running_ = true;
  TurnBudget* const outer = turn_.set_current_budget(nullptr);  // the budget of an outer turn, which dispatch() serves
  const AtScopeExit at_end([this, outer] {
    turn_.set_current_budget(outer);
    run_ended();
  });

  do {  // after a move this runs the next loop, if it is an owned loop, too
    turn_.due().clear(Due::kSwitched);
    run_driven();
  } while (!turn_.due().any(Due::kLeave) && turn_.due().any(Due::kSwitched) && attachments_.driven().owned());
}

/// Runs the loop until run() is to return, or until the context has moved to another loop.
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
  if (!driven.can_run())
    throw_error(ENOTSUP, "run a context: the shim of its loop has neither a turn slot nor a run slot");
  if (turn_.due().any(Due::kLeave)) return;
  arm_if_due();
  const int error = driven.run();
  if (escaped_) std::rethrow_exception(std::exchange(escaped_, nullptr));
  if (error < 0) throw_error(error, "run the loop");
}

/// What run() does at its end, whichever way it ends.
void Runtime::run_ended() noexcept {
  running_ = stop_ = arms_before_wait_ = false;
  if (keepalive_ && alive()) turn_.due().clear(Due::kLeave);
  release_thread();
  turn_.due().set(Due::kDeadline);
  arm_if_due();  // the application may go on with fd() and dispatch()
  if (fd_given_) announce_rest();
}

/// Calls the loop's `turn` slot and then `serve`, again and again, until run() is to return or the context has moved.
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
  turn_.due().set(Due::kDeadline);  // ready sources may be left, for which the deadline must be set to the past
  throw;
}

void Runtime::dispatch() {
  check_thread();
  refuse_forked();
  if (!attachments_.driven().owned() || !attachments_.driven().can_turn()) {
    throw_error(ENOTSUP, "dispatch a context: its loop is foreign, or the shim of the loop has no turn slot");
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

/// Stops the loop if its own `run` slot is on the stack. If the context has left that loop meanwhile, this is not
/// needed, because the `run` slot then returns by itself.
void Runtime::stop_driven() noexcept {
  if (running_ && !turn_.due().any(Due::kSwitched) && !attachments_.driven().can_turn()) attachments_.driven().stop();
}

void Runtime::set_keepalive(bool on) noexcept {
  if (ending_) return;
  // Turning keepalive off has stopped a loop that has no `turn` slot. So run() must run that loop again.
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
    throw_error(ENOTSUP, "get the pollable descriptor: the loop \"" + std::string(loop().name()) + "\" has none");
  }
  deadline_.use_timerfd();
  arms_before_wait_ = false;
  turn_.due().set(Due::kDeadline);
  arm_if_due();
  fd_given_ = true;
  return set;
}

/// Tells an edge-triggered watcher of our descriptor that something is still ready.
///
/// The application may watch our descriptor with an edge-triggered epoll set. Such a set reports the descriptor only
/// when something behind it becomes ready. But a dispatch may leave something ready: an end of file behind the last
/// bytes, or bytes that a callback has not read. Therefore this writes to the eventfd, which is a new event. Only the
/// kernel knows whether something is left, so this asks it with poll(2).
void Runtime::announce_rest() noexcept {
  if (!alive() || !attachments_.driven().owned()) return;
  pollfd set{.fd = attachments_.driven().fd(), .events = POLLIN, .revents = 0};
  if (set.fd >= 0 && ::poll(&set, 1, 0) != 0) mailbox_->nudge();
}

// ---- a loop drives the context ----

/// Serves a turn with a budget, because the application or the loop that it runs waits for the end of the turn. Work
/// that is left makes the next turn due at once.
void Runtime::serve_within_budget() {
  const auto serve = [this] {
    // If the deadline was set to the past, this is the turn that it asked for, even if the up-call of a descriptor came
    // first. Otherwise a host that gives the deadline a low priority could keep the timers waiting.
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

/// Serves a turn within an up-call, where no frame of the context collects: a source is ready, or the deadline has
/// passed.
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

/// Serves an up-call of a host because the native set is ready. One turn of the set collects the sources that are
/// ready. The deadline and the waker are among these sources.
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

/// Handles an exception of a callback that was called from an up-call. Under run() it stops the loop, and run() throws
/// the exception again. Otherwise it calls ContextOptions::on_exception. If there is none, it aborts the connection
/// whose callback threw, and reports the exception.
void Runtime::caught(const std::exception_ptr& exception, bool in_run) noexcept {
  Source* culprit = blamed_.get();
  int reason = ECANCELED;
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
        reason = ECONNABORTED;
      }
      std::rethrow_exception(exception);
    }
  } catch (const std::exception& thrown) {
    report(error_of(reason), words + " (" + thrown.what() + ")");
  } catch (...) {
    report(error_of(reason), words);
  }
  blamed_ = nullptr;
}

}  // namespace onloop::detail
