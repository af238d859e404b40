// The life of a Runtime, its timers and tasks, and its deadline. The rest is in run.cpp and cutover.cpp.
#include "core/runtime/runtime.hpp"

#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace onloop::detail {

// ---- the context's life ----

Runtime::Runtime(Context& facade, const Loop& loop, ContextOptions options)
    : facade_(facade),
      options_(std::move(options)),
      attachments_(*this, loop),
      mailbox_(std::make_shared<Mailbox>(options_.max_posted)) {
  sources_.watch(waker_, mailbox_->fd(), ONLOOP_READ, "watch the eventfd that wakes the loop");
  try {
    if (attachments_.is_aggregate()) deadline_.use_timerfd();
  } catch (...) {
    sources_.unwatch(waker_);
    throw;
  }
}

void Runtime::shutdown() noexcept {
  check_thread_or_die();
  if (forked()) {
    release_thread();  // the context may be bound to a thread of the parent other than the one that forked
    attachments_.abandon();
  }

  // The tasks are destroyed first, while everything that their destructors may call still exists. From here on nothing
  // can be posted.
  ending_ = true;
  mailbox_->close();
  turn_.drop_tasks();
  subsystems_.sever();
  sources_.sever();
  turn_.drop_rest();
  blamed_ = nullptr;
  turn_.due().set(Due::kLeave);
  attachments_.detach();
}

void Runtime::refuse_forked() const {
  if (forked()) throw_error(EPERM, "use a context in a forked child: call after_fork() first");
}

void Runtime::check_thread_or_die() const noexcept {
  if (thread_.is_other() && !forked()) die(ThreadBinding::kWrongThread);
}

// ---- sources ----

void Runtime::defer(Source& source) noexcept {
  if (turn_.defer(source)) deadline_changed();
}

void Runtime::blame(Source& source) noexcept {
  if (!blamed_) blamed_ = Held<Source>(source);
}

// ---- timers and tasks ----

void Runtime::schedule(TimerNode& timer, std::uint64_t at) {
  turn_.timers().schedule(timer, at);
  turn_.due().set(Due::kDeadline);
  if (arms_before_wait_) return;
  if (const int error = arm(); error < 0) {
    turn_.timers().cancel(timer);
    throw_error(error, "set the loop's deadline");
  }
}

void Runtime::cancel(TimerNode& timer) noexcept {
  turn_.timers().cancel(timer);
  turn_.due().set(Due::kDeadline);  // an early up-call does no harm, so the loop is not told before the next change
}

void Runtime::post(Task task) {
  if (!task || ending_) return;
  turn_.post(std::move(task));
  deadline_changed();
}

void Runtime::report(std::error_code error, std::string_view what) noexcept try {
  const Held<Runtime> held(*this);
  if (options_.on_error) {
    options_.on_error(error, what);
  } else {
    log_line(std::string(what) + ": " + error.message());
  }
} catch (const std::exception& thrown) {
  log_line(std::string("on_error threw: ") + thrown.what());
} catch (...) {
  log_line("on_error threw");
}

// ---- the deadline ----

/// Tells the loop the next deadline, if it has changed. Returns 0 or a negative errno.
int Runtime::arm() noexcept {
  if (!alive()) return 0;
  const int error = deadline_.set(attachments_.sources(), turn_.has_work() ? 0 : turn_.timers().earliest());
  if (error >= 0) turn_.due().clear(Due::kDeadline);
  return error;
}

/// Tells the loop the next deadline, if it may have changed. Reports an error.
void Runtime::arm_if_due() noexcept {
  if (!turn_.due().any(Due::kDeadline)) return;
  const int error = arm();
  if (error >= 0) {
    deadline_failed_ = false;
    return;
  }
  // Perhaps nothing else causes the turn that tries again, so this wakes the loop. It does so only once, because
  // setting the deadline may fail for good.
  if (!std::exchange(deadline_failed_, true)) mailbox_->nudge();
  report(error_of(error), "set the loop's deadline");
}

void Runtime::deadline_fired() noexcept {
  deadline_.fired();
  turn_.due().set(Due::kTimers | Due::kDeadline);
}

/// Some work now waits for a turn, so the deadline may have to change.
void Runtime::deadline_changed() noexcept {
  turn_.due().set(Due::kDeadline);
  if (!arms_before_wait_) arm_if_due();
}

}  // namespace onloop::detail
