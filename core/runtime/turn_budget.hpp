#pragma once
#include <cstdint>

#include "core/base/clock.hpp"

namespace onloop::detail {

/// How long a turn may take where an application waits for its end. Whoever calls user code in a loop asks it after
/// each call, and leaves the rest for the next turn when it is spent. The clock runs from the first time that it is
/// asked.
class TurnBudget {
 public:
  void begin(std::uint64_t now) noexcept {
    if (end_ == 0) end_ = now + kLength;
  }
  void begin() noexcept {
    if (end_ == 0) begin(now_ns());
  }
  /// Looks at the clock.
  [[nodiscard]] bool look() noexcept {
    const std::uint64_t now = now_ns();
    begin(now);
    spent_ = spent_ || now >= end_;
    return spent_;
  }
  /// What the last look found.
  [[nodiscard]] bool spent() const noexcept { return spent_; }

 private:
  /// Half a frame at 60 Hz, in nanoseconds. A batch of short messages takes a tenth of it.
  static constexpr std::uint64_t kLength = 8'000'000;

  std::uint64_t end_ = 0;
  bool spent_ = false;
};

}  // namespace onloop::detail
