#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace echo {

/// What all workers count together: connections, against --max-connections, and their numbers for the log. For any
/// thread.
class ConnectionLimit {
 public:
  explicit ConnectionLimit(std::size_t most) noexcept : most_(most) {}

  /// A place for one more connection; false: all are taken.
  [[nodiscard]] bool take_place() noexcept {
    std::size_t taken = taken_;
    do {
      if (taken >= most_) return false;
    } while (!taken_.compare_exchange_weak(taken, taken + 1));
    return true;
  }
  /// For a connection that is there already, whatever the limit is.
  void add_place() noexcept { ++taken_; }
  void give_back_place() noexcept { --taken_; }

  /// 1, 2, …
  [[nodiscard]] std::uint64_t next_number() noexcept { return ++numbers_; }

 private:
  const std::size_t most_;
  std::atomic<std::size_t> taken_ = 0;
  std::atomic<std::uint64_t> numbers_ = 0;
};

}  // namespace echo
