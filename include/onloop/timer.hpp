#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// Owns a timer of a context (Context::timer, Context::every). Destroying the Timer cancels the timer. After its
/// context has gone, the Timer has no effect. A timer never runs early. Timers with equal deadlines run in the order in
/// which they were set.
///
/// Thread: the context's. The Timer may be cancelled, replaced or destroyed in any callback, also in its own.
class [[nodiscard]] ONLOOP_API Timer {
 public:
  /// A handle without a timer. No call has an effect.
  Timer() noexcept = default;

  /// Cancels the timer. Its callback is not called again, also not if it is due already.
  void cancel() noexcept;
  /// @return True until the timer has fired for the last time, was cancelled, or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Timer(detail::HandleTo<detail::TimerEntry> entry) noexcept : entry_(std::move(entry)) {}
  detail::HandleTo<detail::TimerEntry> entry_;
};

}  // namespace onloop
