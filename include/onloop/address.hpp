#pragma once
#include <onloop/export.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace onloop {

/// Where a stream socket listens, connects to or comes from. A value. Names other than `localhost` are not resolved, so
/// nothing here ever blocks (Context::connect takes names as well).
///
///     127.0.0.1:8080  [::1]:8080  [fe80::1%eth0]:8080   IPv4, IPv6 (with its zone)
///     localhost:8080                                    [::1] and 127.0.0.1: listens on both, connects to either
///     unix:/run/app.sock  unix:@name                    a path (at most 107 bytes), an abstract name (at most 107)
///     fd:3  fd:name                                     listening sockets that this process was started with
///
/// Port 0 asks the kernel for a free one. `fd:` follows sd_listen_fds(3): a number is an open listening socket, and if
/// LISTEN_FDS covers it, LISTEN_PID must be this process; a name stands for each socket that LISTEN_FDNAMES gives it.
/// They become the listener's, which closes them; a file of theirs is left alone.
class ONLOOP_API Address {
 public:
  enum class Family : std::uint8_t { none, ipv4, ipv6, localhost, unix_path, unix_abstract, inherited };

  /// No address: what a client of a UNIX socket has that never bound its own.
  Address() noexcept = default;

  /// Reads one of the forms above. Throws std::system_error (EINVAL) that says what is wrong with it.
  [[nodiscard]] static Address parse(std::string_view text);

  /// The form that parse reads; "unknown", which parse refuses, for no address.
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] Family family() const noexcept { return family_; }
  /// 0 where there is none.
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// The path, the abstract name, or what stands behind `fd:`; empty for the others.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Network byte order; the first four bytes for IPv4.
  [[nodiscard]] const std::array<std::byte, 16>& ip() const noexcept { return ip_; }
  /// The IPv6 zone's interface index (sin6_scope_id), 0 for none.
  [[nodiscard]] std::uint32_t scope() const noexcept { return scope_; }

  [[nodiscard]] static Address from_ip(Family family, const std::array<std::byte, 16>& ip, std::uint16_t port,
                                       std::uint32_t scope = 0);
  [[nodiscard]] static Address from_name(Family family, std::string name);

  friend bool operator==(const Address&, const Address&) = default;

 private:
  Family family_ = Family::none;
  std::uint16_t port_ = 0;
  std::uint32_t scope_ = 0;
  std::array<std::byte, 16> ip_{};
  std::string name_;
};

}  // namespace onloop
