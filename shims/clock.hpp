#pragma once
#include <cstdint>
#include <ctime>

namespace onloop {

/// The current time of CLOCK_MONOTONIC in nanoseconds. Deadlines are given in this clock.
inline std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace onloop
