#pragma once
#include <utility>

namespace onloop {

namespace detail {
class SignalEntry;
}

/// Owns the watch of a signal (Context::on_signal); destroying it ends the watch. Inert after its context. For the
/// context's thread. May be cancelled, replaced or destroyed in any callback, its own included.
class [[nodiscard]] Signal {
 public:
  Signal() noexcept = default;
  Signal(Signal&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Signal& operator=(Signal&& other) noexcept;
  ~Signal();

  void cancel() noexcept;
  /// True until it was cancelled or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Signal(detail::SignalEntry* entry) noexcept : entry_(entry) {}
  detail::SignalEntry* entry_ = nullptr;
};

}  // namespace onloop
