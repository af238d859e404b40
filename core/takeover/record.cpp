#include "core/takeover/record.hpp"

#include <cerrno>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/base/error.hpp"

namespace onloop::detail {
namespace {

constexpr std::uint64_t kMagic = 0x6f6e6c6f6f703e3e;  // "onloop>>"; another byte order does not match
constexpr std::size_t kLongestPath = 4096;            // PATH_MAX

/// Throws EPROTO: the other side has sent a malformed record.
[[noreturn]] void malformed(const char* why) {
  throw_error(EPROTO, std::string("the other process sends a record that is ") + why);
}

/// Appends numbers, texts and blocks of bytes to the bytes of a record.
class Writer {
 public:
  template <class T>
  Writer& operator<<(const T& value) requires std::is_arithmetic_v<T> {
    const auto raw = std::as_bytes(std::span{&value, 1});
    bytes_.insert(bytes_.end(), raw.begin(), raw.end());
    return *this;
  }
  Writer& operator<<(std::span<const std::byte> block) {
    *this << static_cast<std::uint32_t>(block.size());
    bytes_.insert(bytes_.end(), block.begin(), block.end());
    return *this;
  }
  Writer& operator<<(const std::string& text) { return *this << std::as_bytes(std::span{text}); }
  Writer& operator<<(const Limits& limits) {
    return *this << std::uint64_t{limits.high_water} << std::uint64_t{limits.low_water}
                 << std::uint64_t{limits.max_queued} << limits.pause_reading_when_full
                 << std::int64_t{limits.idle_timeout.count()} << std::int64_t{limits.linger.count()};
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

/// Reads the bytes of a record in the order in which Writer has written them. Throws EPROTO if they are malformed.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <class T>
  Reader& operator>>(T& value) requires std::is_integral_v<T> {
    if constexpr (std::is_same_v<T, bool>) {
      std::uint8_t byte = 0;
      *this >> byte;
      if (byte > 1) malformed("garbled");
      value = byte == 1;
    } else {
      std::memcpy(&value, take(sizeof value).data(), sizeof value);
    }
    return *this;
  }
  Reader& operator>>(Limits& limits) {
    std::uint64_t high = 0, low = 0, most = 0;
    std::int64_t idle = 0, linger = 0;
    *this >> high >> low >> most >> limits.pause_reading_when_full >> idle >> linger;
    if (low > high || high > most) malformed("garbled: its limits do not rise");
    limits.high_water = high;
    limits.low_water = low;
    limits.max_queued = most;
    limits.idle_timeout = std::chrono::nanoseconds{idle};
    limits.linger = std::chrono::nanoseconds{linger};
    return *this;
  }
  std::span<const std::byte> block(std::size_t longest) {
    std::uint32_t size = 0;
    *this >> size;
    if (size > longest) malformed("garbled: a part of it is too long");
    return take(size);
  }
  std::string text(std::size_t longest) {
    const auto bytes = block(longest);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void end() const {
    if (!left_.empty()) malformed("longer than it should be");
  }

 private:
  std::span<const std::byte> take(std::size_t size) {
    if (left_.size() < size) malformed("cut short");
    const auto taken = left_.first(size);
    left_ = left_.subspan(size);
    return taken;
  }
  std::span<const std::byte> left_;
};

/// Throws if the record describes a state that a connection never has. A connection in such a state would stay in it
/// for ever: nothing would end it, make it read, or send its FIN.
void check_state(const ConnectionRecord& record) {
  const bool all_written = record.queued == 0 && record.write_ended;
  if (record.fin_sent && !all_written) malformed("garbled: bytes behind the end");
  if (all_written && !record.fin_sent)
    malformed("garbled: writing has ended and nothing is queued, but no FIN was sent");
  if (record.fin_sent && record.read_ended) malformed("garbled: both directions of the connection have ended");
  if ((record.full || record.waiting) && record.queued <= record.limits.low_water)
    malformed("garbled: it waits for its queue to drain, but the queue has drained");
  if (record.closing && (!record.write_ended || record.clock_ns == 0 || record.limits.linger.count() <= 0))
    malformed("garbled: it closes, but writing has not ended or no time limits the close");
}

}  // namespace

std::vector<std::byte> to_bytes(const HelloRecord& record) {
  return (Writer() << kMagic << kTakeoverVersion << record.frozen_at).take();
}

HelloRecord hello_from(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  HelloRecord record;
  reader >> magic;
  if (magic != kMagic) malformed("not the beginning of a takeover");
  reader >> version;
  if (version != kTakeoverVersion) {
    throw_error(EPROTO, "the other process hands over by version " + std::to_string(version) +
                            " of the protocol, this one takes over by version " + std::to_string(kTakeoverVersion));
  }
  reader >> record.frozen_at;
  reader.end();
  return record;
}

std::vector<std::byte> to_bytes(const ListenerRecord& record) {
  return (Writer() << record.protocol << record.limits << record.max_connections << record.paused << record.sockets
                   << record.path << record.device << record.inode)
      .take();
}

ListenerRecord listener_from(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  ListenerRecord record;
  record.protocol = reader.text(kLongestName);
  reader >> record.limits >> record.max_connections >> record.paused >> record.sockets;
  record.path = reader.text(kLongestPath);
  if (record.path.find('\0') != std::string::npos) malformed("garbled: a path with a zero byte in it");
  reader >> record.device >> record.inode;
  reader.end();
  if (record.sockets == 0) malformed("garbled: a listener without a socket");
  return record;
}

std::vector<std::byte> to_bytes(const ConnectionRecord& record) {
  return (Writer() << record.protocol << record.listener << record.closing << record.paused << record.full
                   << record.waiting << record.drain_due << record.read_ended << record.write_ended << record.fin_sent
                   << record.limits << record.idle_ns << record.clock_ns << record.queued << std::span(record.state))
      .take();
}

ConnectionRecord connection_from(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  ConnectionRecord record;
  record.protocol = reader.text(kLongestName);
  reader >> record.listener >> record.closing >> record.paused >> record.full >> record.waiting >> record.drain_due >>
      record.read_ended >> record.write_ended >> record.fin_sent >> record.limits >> record.idle_ns >>
      record.clock_ns >> record.queued;
  const auto state = reader.block(kLongestState);
  record.state.assign(state.begin(), state.end());
  reader.end();
  constexpr std::uint64_t kLongestTime = INT64_MAX;
  if (record.idle_ns > kLongestTime || record.clock_ns > kLongestTime) malformed("garbled: a time-out is endless");
  if (record.queued > record.limits.max_queued) malformed("garbled: more is queued than its limits allow");
  check_state(record);
  return record;
}

std::vector<std::byte> to_bytes(const EndRecord& record) {
  return (Writer() << record.listeners << record.connections << record.nonce).take();
}

EndRecord end_from(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  EndRecord record;
  reader >> record.listeners >> record.connections >> record.nonce;
  reader.end();
  return record;
}

}  // namespace onloop::detail
