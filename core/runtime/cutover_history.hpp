#pragma once
#include <cstdint>

#include "core/base/clock.hpp"

namespace onloop::detail {

/// The moves of a context from loop to loop: how many there were, and how long the last one held up its work.
class CutoverHistory {
 public:
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Nanoseconds from the last move_to() to the first turn on the loop that it led to.
  [[nodiscard]] std::uint64_t last_stall() const noexcept { return last_stall_; }

  /// The context has moved. began: the time at which move_to() was called.
  void moved(std::uint64_t began) noexcept {
    ++count_;
    began_ = began;
  }
  /// The context is in a forked child now. The loop that it is on there was not reached by a cutover.
  void forked() noexcept { began_ = 0; }
  /// The first turn on the other loop begins.
  void arrived() noexcept {
    if (began_ != 0) last_stall_ = now_ns() - began_;
  }

 private:
  std::uint64_t count_ = 0;
  std::uint64_t began_ = 0;
  std::uint64_t last_stall_ = 0;
};

}  // namespace onloop::detail
