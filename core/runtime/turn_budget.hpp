#pragma once
#include <cstdint>

#include "core/base/clock.hpp"

namespace onloop::detail {

/// The time that a turn may take if an application waits for its end. Code that calls user code in a loop must ask
/// look() after each call, and must leave the rest for the next turn when the budget is spent. The time runs from the
/// first call of begin() or look().
class TurnBudget {
 public:
  /// Begins the time at `now`, a time of now_ns(), if it has not begun yet.
  void begin(std::uint64_t now) noexcept {
    if (end_ == 0) end_ = now + kLength;
  }
  void begin() noexcept {
    if (end_ == 0) begin(now_ns());
  }
  /// Looks at the clock. Returns true if the budget is spent.
  [[nodiscard]] bool look() noexcept {
    const std::uint64_t now = now_ns();
    begin(now);
    spent_ = spent_ || now >= end_;
    return spent_;
  }
  /// What the last look() returned; false before the first.
  [[nodiscard]] bool spent() const noexcept { return spent_; }

 private:
  /// The budget in nanoseconds. It is half a frame at 60 Hz. A batch of short messages takes a tenth of it.
  static constexpr std::uint64_t kLength = 8'000'000;

  std::uint64_t end_ = 0;
  bool spent_ = false;
};

}  // namespace onloop::detail
