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

// The records of a takeover, and their form as the bytes of a frame. to_bytes() writes a record. The functions
// hello_from() to end_from() read a record. They check every field before they use it, and throw std::system_error
// (EPROTO) with a message that says what is wrong.

constexpr std::uint32_t kTakeoverVersion = 2;
constexpr std::size_t kLongestName = 255;      // bytes of the name of a protocol
constexpr std::size_t kEndSize = 16;           // bytes of an EndRecord
constexpr std::size_t kLongestState = 60'000;  // bytes of the state that a protocol gives to one connection

/// The first record.
struct HelloRecord {
  std::uint64_t frozen_at = 0;  // when the exporter stopped serving, in ns of CLOCK_MONOTONIC
};

/// A listener. The descriptors of its sockets travel with the record.
struct ListenerRecord : ListenerSnapshot {
  std::string protocol;
};

/// A connection. One descriptor travels with the record. Data frames with the `queued` bytes follow it.
struct ConnectionRecord : ConnectionSnapshot {
  static constexpr std::uint32_t kNoListener = UINT32_MAX;
  std::string protocol;
  std::uint32_t listener = kNoListener;  // which of the listener records, counted from 0
  std::vector<std::byte> state;          // from TakeoverOptions::Member::export_state
};

/// The last record. The importer sends it back as the acknowledgement. An importer that has not read the record does
/// not know the nonce, and so it can't acknowledge.
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
