#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace echo {

/// What all workers count together: the open connections, for --max-connections, and the numbers of the connections in
/// the log.
///
/// Thread: every call may be made on any thread.
class ConnectionLimit {
 public:
  explicit ConnectionLimit(std::size_t most) noexcept : most_(most) {}

  /// Takes a place for one more connection. Returns false if all places are taken.
  [[nodiscard]] bool take_place() noexcept {
    std::size_t taken = taken_;
    do {
      if (taken >= most_) return false;
    } while (!taken_.compare_exchange_weak(taken, taken + 1));
    return true;
  }
  /// Counts a connection that is open already, such as one from a takeover, even above the limit.
  void add_place() noexcept { ++taken_; }
  void give_back_place() noexcept { --taken_; }

  /// The number for the next connection: 1, 2, …
  [[nodiscard]] std::uint64_t next_number() noexcept { return ++numbers_; }

 private:
  const std::size_t most_;
  std::atomic<std::size_t> taken_ = 0;
  std::atomic<std::uint64_t> numbers_ = 0;
};

}  // namespace echo
