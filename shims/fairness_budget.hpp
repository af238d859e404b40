#pragma once
#include <cstddef>
#include <cstdint>

#include "shims/clock.hpp"

namespace onloop {

/// When a guest that is always ready has to let others have a turn, on a host where priorities would keep those of
/// lower priority waiting for as long as it is ready.
///
/// A fairness of dispatches begins with one before which the host has waited: until then nobody was kept waiting. The
/// guest rests when a fairness has lasted for kLongest. On a busy machine the time between two dispatches may look like
/// a wait, so it also rests when it has worked for kMost since it last did.
class FairnessBudget {
 public:
  /// At the beginning of a dispatch. Whether the guest is to rest first, for one iteration of the host or a moment.
  /// `watches`: how many the host has to look at in an iteration, for which it takes the longer.
  [[nodiscard]] bool rest(std::size_t watches) noexcept {
    started_ = now_ns();
    if (started_ - ended_ > kWaited + kEach * watches) began_ = started_;
    if (started_ - began_ < kLongest && worked_ < kMost) return false;
    began_ = started_;
    worked_ = 0;
    return true;
  }
  /// At its end, which it returns.
  std::uint64_t end() noexcept {
    ended_ = now_ns();
    worked_ += ended_ - started_;
    return ended_;
  }
  /// When the last dispatch began.
  [[nodiscard]] std::uint64_t started() const noexcept { return started_; }

 private:
  static constexpr std::uint64_t kLongest = 4'000'000;  // ns: a quarter of a frame at 60 Hz
  static constexpr std::uint64_t kMost = 100'000'000;
  static constexpr std::uint64_t kWaited = 100'000;  // hosts take 2 to 10 us from one dispatch to the next,
  static constexpr std::uint64_t kEach = 1'000;      // and up to 1 us for each watch

  std::uint64_t began_ = 0;
  std::uint64_t started_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t worked_ = 0;  // since the last rest
};

}  // namespace onloop
