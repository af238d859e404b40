#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace load {

/// The bytes that a client sends and expects back.
///
/// Each connection has an endless stream of random bytes. The period of the stream is a prime number, so each message
/// differs from the next one. The stream begins at another position for each connection. So lost, doubled, reordered,
/// altered and misdirected bytes are all noticed. Neither sending nor checking copies bytes, because every piece of the
/// stream is in one buffer.
class Pattern {
 public:
  static constexpr std::size_t kPeriod = 65537;
  /// The length of the longest piece.
  static constexpr std::size_t kPiece = 65536;

  Pattern();

  /// A piece of the stream: `length` bytes (at most kPiece), beginning at `position` (below kPeriod).
  [[nodiscard]] std::span<const std::byte> piece(std::size_t position, std::size_t length) const noexcept {
    return {bytes_.data() + position, length};
  }

  /// The position where the stream of this connection begins. It is different for each of the first 65,537 connections.
  [[nodiscard]] static std::size_t start(std::size_t connection) noexcept {
    return connection % kPeriod * 40503 % kPeriod;  // by the golden ratio: consecutive connections begin far apart
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
