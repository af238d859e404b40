#pragma once
#include <chrono>
#include <cstdint>
#include <ctime>

namespace onloop::detail {

/// Nanoseconds of CLOCK_MONOTONIC, the clock of every deadline.
inline std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

/// Nanoseconds; zero for what is negative.
inline std::uint64_t positive(std::chrono::nanoseconds time) noexcept {
  return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

/// `delay` after `start`. A negative delay counts as zero; the sum stays below ONLOOP_NO_DEADLINE, since start is
/// decades away from where the longest delay (292 years) would wrap.
inline std::uint64_t later(std::uint64_t start, std::chrono::nanoseconds delay) noexcept {
  return start + positive(delay);
}

}  // namespace onloop::detail
