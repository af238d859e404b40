// Timer, and the object behind it (TimerEntry).
#include "core/runtime/timer_entry.hpp"

#include <onloop/timer.hpp>

#include "core/base/clock.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {
namespace detail {

void TimerEntry::start(std::uint64_t at) {
  runtime_->schedule(*this, at);
}

void TimerEntry::cancel() noexcept {
  if (scheduled()) {
    runtime_->check_thread_or_die();
    runtime_->cancel(*this);
  }
  period_ = 0;
}

void TimerEntry::on_due() {
  const Held<TimerEntry> held(*this);  // the callback may destroy the handle
  if (period_ == 0) {
    Task task = std::move(task_);
    task();
    return;
  }
  const std::uint64_t late = now_ns() - due_at();
  runtime_->schedule(*this, due_at() + (late / period_ + 1) * period_);
  task_();
}

void Retire::operator()(TimerEntry* entry) const noexcept {
  entry->cancel();
  Held<TimerEntry>::drop(entry);
}

}  // namespace detail

void Timer::cancel() noexcept {
  if (entry_) entry_->cancel();
}

bool Timer::active() const noexcept {
  return entry_ && entry_->scheduled();
}

}  // namespace onloop
