#pragma once
#include <chrono>
#include <cstdint>
#include <ctime>

namespace onloop::detail {

/// The time now, in nanoseconds of CLOCK_MONOTONIC. Every deadline is a time of this clock.
inline std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

/// The duration in nanoseconds. A negative duration counts as zero.
inline std::uint64_t positive(std::chrono::nanoseconds time) noexcept {
  return time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0;
}

/// The time that is `delay` after `start`, a time of now_ns(). A negative delay counts as zero. The sum stays below
/// ONLOOP_NO_DEADLINE. The longest delay is 292 years, and `start` is decades away from where that sum would wrap.
inline std::uint64_t later(std::uint64_t start, std::chrono::nanoseconds delay) noexcept {
  return start + positive(delay);
}

}  // namespace onloop::detail
