#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// Owns a timer of a context (Context::timer, Context::every); destroying it cancels. Inert after its context. Runs
/// never early; timers with equal deadlines in the order in which they were set. For the context's thread. May be
/// cancelled, replaced or destroyed in any callback, its own included.
class [[nodiscard]] ONLOOP_API Timer {
 public:
  Timer() noexcept = default;

  void cancel() noexcept;
  /// True until it has fired for the last time or was cancelled, or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Timer(detail::HandleTo<detail::TimerEntry> entry) noexcept : entry_(std::move(entry)) {}
  detail::HandleTo<detail::TimerEntry> entry_;
};

}  // namespace onloop
