#pragma once
#include <utility>

namespace onloop {

namespace detail {
class TimerEntry;
}

/// Owns a timer of a context (Context::timer, Context::every); destroying it cancels. Inert after its context. Runs
/// never early; timers with equal deadlines in the order in which they were set. For the context's thread. May be
/// cancelled, replaced or destroyed in any callback, its own included.
class [[nodiscard]] Timer {
 public:
  Timer() noexcept = default;
  Timer(Timer&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Timer& operator=(Timer&& other) noexcept;
  ~Timer();

  void cancel() noexcept;
  /// True until it has fired for the last time or was cancelled, or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Timer(detail::TimerEntry* entry) noexcept : entry_(entry) {}
  detail::TimerEntry* entry_ = nullptr;
};

}  // namespace onloop
