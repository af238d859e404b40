#include "core/runtime/turn.hpp"

#include "core/base/at_scope_exit.hpp"
#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/mailbox.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

// ---- the work for the next turn ----

bool Turn::defer(Source& source) noexcept {
  if (!deferred_.add(source)) return false;
  due_.set(Due::kDeferred);
  return true;
}

void Turn::post(Task task) {
  tasks_.push_back({std::move(task), false});
  due_.set(Due::kPosted);
}

void Turn::take_mail(Mailbox& mailbox) {
  mailbox.clear();
  if (mailbox.take_wake()) wake_is_due_ = true;
  signals_.look_after_handlers();
  signals_.note(mailbox.take_signals());
  due_.set(Due::kPosted);  // before the tasks are taken, so that it is also set if there is no memory for them
  mailbox.take_tasks([this](Task&& task, bool counted) {
    tasks_.emplace_back();
    tasks_.back() = {std::move(task), counted};
  });
}

void Turn::forget_ready() noexcept {
  while (Source* source = ready_.take()) {
    if (!source->busy_) source->do_postponed();
  }
}

void Turn::drop_tasks() noexcept {
  while (!tasks_.empty()) {  // one by one, because making another deque could fail for want of memory
    const Task dropped = std::move(tasks_.front().task);
    tasks_.pop_front();
  }
}

void Turn::drop_rest() noexcept {
  while (!deferred_.empty()) (void)deferred_.take();
  while (timers_.take_any()) {
  }
  signals_.sever();
  forget_ready();
}

// ---- a turn ----

void Turn::serve_within_budget() {
  TurnBudget budget;
  TurnBudget* const outer = set_current_budget(&budget);
  const AtScopeExit at_end([this, outer] { set_current_budget(outer); });
  serve_in_order(&budget);
}

/// Called in the first turn on a loop that the context has moved to.
void Turn::arrive() noexcept {
  due_.clear(Due::kMoved);
  runtime_.cutover_history_.arrived();
}

/// Calls the timers that are due. If the turn ends while timers are left, the next turn serves only those that are
/// left, and no timer that has become due since. So the other kinds of work are served, even if timers end every turn.
void Turn::serve_timers() {
  due_.clear(Due::kTimers);
  const bool goes_on = unfinished_timers_.has_value();
  const TimerLimits limits = goes_on ? *unfinished_timers_ : TimerLimits{now_ns(), timers_.mark()};
  unfinished_timers_.reset();
  if (current_budget_ && !goes_on) current_budget_->begin(limits.now);
  signals_.look_after_handlers();
  while (!runtime_.turn_is_over()) {
    TimerNode* timer = timers_.take_due(limits.now, limits.mark);
    if (!timer) return;
    timer->on_due();
    if (runtime_.budget_is_spent()) break;
  }
  if (runtime_.alive()) due_.set(Due::kTimers);
  unfinished_timers_ = limits;
}

/// The rare cases of deliver(). Returns the directions that are to be delivered.
///
/// An interest in READ that is no longer wanted leaves the loop now. If user code of a busy source iterates the loop,
/// the source wants nothing until that code has returned. Otherwise the loop would report the source again and again.
std::uint32_t Turn::deliverable(Source& source, std::uint32_t readiness) noexcept {
  if (source.fd_ < 0) {  // unwatched while it was in the list
    if (!source.busy_) source.do_postponed();
    return ONLOOP_NONE;
  }
  const std::uint32_t kept = source.busy_ ? ONLOOP_NONE : source.wanted_;
  if (source.busy_) source.postponed_ |= Source::kInterest;
  if (source.set_ != kept) {
    if (const int error = runtime_.attachments_.sources().watch_set(source.watch_, kept); error >= 0) {
      source.set_ = static_cast<std::uint8_t>(kept);
    } else if (!source.busy_) {  // for a busy source this is tried again at its next event
      source.on_watch_error(error_of(error));
      if (!source.runtime_ || source.fd_ < 0) return ONLOOP_NONE;
    }
  }
  return readiness & kept;
}

void Turn::blame(Source& source) noexcept {
  runtime_.blame(source);
}

void Turn::serve_deferred() {
  const AtScopeExit at_end([this] {
    if (deferred_.empty()) due_.clear(Due::kDeferred);
  });
  for (std::size_t left = deferred_.size(); left > 0 && !deferred_.empty() && !runtime_.turn_is_over(); --left) {
    const Held<Source> held = deferred_.take();
    Source& source = *held;
    if (!source.runtime_) continue;
    if (source.busy_) {
      source.postponed_ |= Source::kDeferred;
      continue;
    }
    {
      const Source::Busy busy(source);
      try {
        source.on_deferred();
      } catch (...) {
        blame(source);
        throw;
      }
    }
    if (runtime_.budget_is_spent()) break;
  }
}

void Turn::serve_posted() {
  if (runtime_.turn_is_over()) return;
  due_.clear(Due::kPosted);
  const AtScopeExit at_end([this] {
    if (wake_is_due_ || signals_.due() || !tasks_.empty()) due_.set(Due::kPosted);
  });
  std::size_t left = tasks_.size();
  if (std::exchange(wake_is_due_, false) && runtime_.options().on_wake) runtime_.options().on_wake();
  if (signals_.due() && !runtime_.turn_is_over()) signals_.serve(runtime_);
  for (; left > 0 && !runtime_.turn_is_over() && !tasks_.empty(); --left) {
    if (tasks_.front().counted) runtime_.mailbox()->done_with_one();
    Task task = std::move(tasks_.front().task);
    tasks_.pop_front();
    task();
    if (runtime_.budget_is_spent()) break;
  }
}

}  // namespace onloop::detail
