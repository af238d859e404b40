#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace load {

/// Counts latencies in buckets. The width of a bucket grows with the value, as in HdrHistogram.
///
/// Values below 256 ns are exact. All larger values of 64 bits are exact within 1/128 (0.8 %). Recording allocates
/// nothing and costs a few instructions.
class Histogram {
 public:
  void record(std::uint64_t nanoseconds, std::uint64_t times = 1) noexcept {
    counts_[bucket_of(nanoseconds)] += times;
    count_ += times;
    max_ = std::max(max_, nanoseconds);
  }

  void merge(const Histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) counts_[bucket] += other.counts_[bucket];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
  }

  void clear() noexcept { *this = Histogram{}; }

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// The largest value, which is exact. It is 0 if nothing was recorded.
  [[nodiscard]] std::uint64_t max() const noexcept { return max_; }

  /// A percentile of the recorded values.
  ///
  /// @param percent  0 to 100.
  /// @return The value that `percent` of the recorded values do not exceed. It is never below the true value, and at
  ///         most 1/128 above it. It is 0 if nothing was recorded.
  [[nodiscard]] std::uint64_t percentile(double percent) const noexcept {
    // 99.9 % of 1,000 values must be the 999th value. In binary arithmetic the product is a little more than 999.
    const double exact = percent / 100 * static_cast<double>(count_);
    const auto rank = std::max(static_cast<std::uint64_t>(std::ceil(exact * (1 - 1e-12))), std::uint64_t{1});
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      seen += counts_[bucket];
      if (seen >= rank) return std::min(last_of(bucket), max_);
    }
    return max_;
  }

 private:
  // Each of the first 256 values has a bucket of its own. Above them, each power of two has 128 buckets.
  static constexpr unsigned kBits = 7;
  static constexpr std::size_t kPerOctave = std::size_t{1} << kBits;
  static constexpr std::size_t kBuckets = (64 - kBits + 1) * kPerOctave;

  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < 2 * kPerOctave) return static_cast<std::size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - kBits - 1;
    return shift * kPerOctave + static_cast<std::size_t>(value >> shift);
  }
  // The largest value that falls into this bucket.
  static constexpr std::uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < 2 * kPerOctave) return bucket;
    const auto shift = static_cast<unsigned>(bucket / kPerOctave) - 1;
    const std::uint64_t leading = bucket - shift * kPerOctave;
    return (leading << shift) + ((std::uint64_t{1} << shift) - 1);
  }

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace load
