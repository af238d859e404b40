#pragma once
#include <cstdint>

#include "shims/clock.hpp"

namespace onloop {

/// When a guest that is always ready has to let others have a turn, on a host where priorities would keep those of
/// lower priority waiting for as long as it is ready.
///
/// A streak of dispatches begins with one before which the host has waited: until then nobody was kept waiting. When it
/// has lasted for kLongest, rest() says so, once, and another begins. So it does after kMost dispatches, since on a
/// busy machine the time between two of them may look like a wait.
class Streak {
 public:
  /// At the beginning of a dispatch. Whether the guest is to rest first, for one iteration of the host or a moment.
  [[nodiscard]] bool rest() noexcept {
    const std::uint64_t now = now_ns();
    if (now - last_ > kWaited) began_ = now;
    if (++dispatches_ < kMost && now - began_ < kLongest) return false;
    began_ = now;
    dispatches_ = 0;
    return true;
  }
  /// At its end.
  void end() noexcept { last_ = now_ns(); }

 private:
  static constexpr std::uint64_t kLongest = 4'000'000;  // a quarter of a frame at 60 Hz
  static constexpr std::uint64_t kWaited = 100'000;     // hosts take 2 to 10 us from one dispatch to the next

  static constexpr std::uint32_t kMost = 2'000;

  std::uint64_t began_ = 0;
  std::uint64_t last_ = 0;
  std::uint32_t dispatches_ = 0;
};

}  // namespace onloop
