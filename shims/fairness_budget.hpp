#pragma once
#include <cstddef>
#include <cstdint>

#include "shims/clock.hpp"

namespace onloop {

/// Tells when a guest that is always ready has to let others have a turn. It is for hosts with priorities. On such a
/// host, sources of lower priority wait for as long as the guest is ready.
///
/// A busy period is a sequence of dispatches without a wait of the host between them. Before a busy period nobody was
/// kept waiting, since the host has waited. The guest rests when a busy period has lasted for kLongest. On a busy
/// machine the time between two dispatches may look like a wait. Therefore the guest also rests when it has worked for
/// kMost since its last rest.
class FairnessBudget {
 public:
  /// Must be called at the beginning of a dispatch.
  ///
  /// @param watches How many watches the host has to look at in an iteration. An iteration takes longer with more
  /// watches.
  /// @return True if the guest must rest first, for one iteration of the host or for a moment.
  [[nodiscard]] bool rest(std::size_t watches) noexcept {
    started_ = now_ns();
    if (started_ - ended_ > kWaited + kEach * watches) began_ = started_;
    if (started_ - began_ < kLongest && worked_ < kMost) return false;
    began_ = started_;
    worked_ = 0;
    return true;
  }
  /// Must be called at the end of a dispatch.
  ///
  /// @return The time of the end.
  std::uint64_t end() noexcept {
    ended_ = now_ns();
    worked_ += ended_ - started_;
    return ended_;
  }
  /// @return When the last dispatch began.
  [[nodiscard]] std::uint64_t started() const noexcept { return started_; }

 private:
  static constexpr std::uint64_t kLongest = 4'000'000;  // ns: a quarter of a frame at 60 Hz
  static constexpr std::uint64_t kMost = 100'000'000;   // ns
  static constexpr std::uint64_t kWaited = 100'000;     // ns: hosts take 2 to 10 us from one dispatch to the next,
  static constexpr std::uint64_t kEach = 1'000;         // ns: and up to 1 us more for each watch

  std::uint64_t began_ = 0;
  std::uint64_t started_ = 0;
  std::uint64_t ended_ = 0;
  std::uint64_t worked_ = 0;  // how long the guest has worked since its last rest, in ns
};

}  // namespace onloop
