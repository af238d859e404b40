#pragma once
#include <cstdint>

#include "core/base/clock.hpp"

namespace onloop::detail {

/// Statistics of the moves of a context from loop to loop: how many there were, and the stall of the last one. The
/// Runtime owns it. Thread: the context's.
class CutoverHistory {
 public:
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Nanoseconds from the last move_to() to the first turn on the loop that it led to.
  [[nodiscard]] std::uint64_t last_stall() const noexcept { return last_stall_; }

  /// Notes that the context has moved.
  ///
  /// @param began The time at which move_to() was called, as now_ns() gives it.
  void moved(std::uint64_t began) noexcept {
    ++count_;
    began_ = began;
  }
  /// Notes that the context is in a forked child. It has not come to the loop there by move_to(), so no stall is
  /// measured.
  void forked() noexcept { began_ = 0; }
  /// Notes that the first turn on the next loop begins.
  void arrived() noexcept {
    if (began_ != 0) last_stall_ = now_ns() - began_;
  }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t began_ = 0;
  std::uint64_t last_stall_ = 0;
};

}  // namespace onloop::detail
