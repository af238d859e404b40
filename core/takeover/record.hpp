#pragma once
#include <onloop/options.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/net/snapshot.hpp"

namespace onloop::detail {

/// The records of a takeover, as they are and as bytes. Reading one throws std::system_error (EPROTO) that says what is
/// wrong with it; nothing in it is believed before it was looked at.

constexpr std::uint32_t kTakeoverVersion = 2;
constexpr std::size_t kLongestName = 255;
constexpr std::size_t kEndSize = 16;
constexpr std::size_t kLongestState = 60'000;  // of one connection's protocol

/// Comes first.
struct HelloRecord {
  std::uint64_t frozen_at = 0;  // ns of CLOCK_MONOTONIC, when the last byte was served
};

struct ListenerRecord : ListenerSnapshot {
  std::string protocol;
};

/// One descriptor goes with it, and data frames with the `queued` bytes come after it.
struct ConnectionRecord : ConnectionSnapshot {
  static constexpr std::uint32_t kNoListener = UINT32_MAX;
  std::string protocol;
  std::uint32_t listener = kNoListener;  // the number of one of the listener records, from 0
  std::vector<std::byte> state;          // the protocol's
};

/// Comes last, and comes back as the acknowledgement: who has not read it can't know the nonce.
struct EndRecord {
  std::uint32_t listeners = 0;
  std::uint32_t connections = 0;
  std::uint64_t nonce = 0;
  bool operator==(const EndRecord&) const = default;
};

[[nodiscard]] std::vector<std::byte> to_bytes(const HelloRecord& record);
[[nodiscard]] std::vector<std::byte> to_bytes(const ListenerRecord& record);
[[nodiscard]] std::vector<std::byte> to_bytes(const ConnectionRecord& record);
[[nodiscard]] std::vector<std::byte> to_bytes(const EndRecord& record);
[[nodiscard]] HelloRecord hello_from(std::span<const std::byte> bytes);
[[nodiscard]] ListenerRecord listener_from(std::span<const std::byte> bytes);
[[nodiscard]] ConnectionRecord connection_from(std::span<const std::byte> bytes);
[[nodiscard]] EndRecord end_from(std::span<const std::byte> bytes);

}  // namespace onloop::detail
