#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace load {

/// What is sent and expected back: an endless stream of bytes for each connection, random with a prime period, so that
/// each message differs from the next, and started elsewhere for each connection. Lost, doubled, reordered, altered and
/// misdirected bytes all show. Neither sending nor checking makes a copy: every piece of the stream is in one buffer.
class Pattern {
 public:
  static constexpr std::size_t kPeriod = 65537;
  /// The longest piece.
  static constexpr std::size_t kPiece = 65536;

  Pattern();

  /// The `length` bytes (at most kPiece) from `position` (below kPeriod) on.
  [[nodiscard]] std::span<const std::byte> piece(std::size_t position, std::size_t length) const noexcept {
    return {bytes_.data() + position, length};
  }

  /// Where the stream of the connection with this number starts; different for the first 65,537.
  [[nodiscard]] static std::size_t start(std::size_t connection) noexcept {
    return connection % kPeriod * 40503 % kPeriod;  // the golden section: neighbours start far apart
  }
  /// The position `length` bytes (at most kPiece) after `position`.
  [[nodiscard]] static std::size_t after(std::size_t position, std::size_t length) noexcept {
    const std::size_t next = position + length;
    return next < kPeriod ? next : next - kPeriod;
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace load
