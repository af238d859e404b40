#pragma once
#include <onloop/export.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace onloop {

namespace detail {
struct SocketAddress;
}

/// The address of a stream socket: where it listens, where it connects to, or where it comes from. An Address is a
/// value. No function of this class blocks, because no name is resolved except `localhost`. Context::connect takes
/// other names as well.
///
///     127.0.0.1:8080  [::1]:8080  [fe80::1%eth0]:8080   IPv4, IPv6 (with its zone)
///     localhost:8080                                    [::1] and 127.0.0.1: listens on both, connects to either
///     unix:/run/app.sock  unix:@name                    a path (at most 107 bytes), an abstract name (at most 107)
///     fd:3  fd:name                                     listening sockets that this process was started with
///
/// Port 0 asks the kernel for a free port.
///
/// `fd:` follows sd_listen_fds(3). A number stands for an open listening socket. If LISTEN_FDS covers the number,
/// LISTEN_PID must be this process. A name stands for each socket to which LISTEN_FDNAMES gives this name. The listener
/// owns these sockets and closes them. It does not unlink the file of a UNIX socket among them.
class ONLOOP_API Address {
 public:
  /// The kind of an address. It decides which of port(), ip(), scope() and name() have a meaning.
  enum class Family : std::uint8_t {
    none,           ///< there is no address
    ipv4,           ///< an IPv4 address and a port
    ipv6,           ///< an IPv6 address, perhaps with a zone, and a port
    localhost,      ///< `localhost` and a port: both [::1] and 127.0.0.1
    unix_path,      ///< a UNIX socket whose name() is a path
    unix_abstract,  ///< a UNIX socket whose name() is in the abstract name space, without the leading zero byte
    inherited       ///< `fd:`: listening sockets that this process was started with
  };

  /// Makes an address of no family. A client of a UNIX socket has such an address if it has not bound its own socket.
  Address() noexcept = default;

  /// Reads one of the forms above.
  /// @throws std::system_error with EINVAL. The message says what is wrong with the text.
  [[nodiscard]] static Address parse(std::string_view text);

  /// @return The form that parse() reads. If there is no address, the result is "unknown", which parse() refuses.
  [[nodiscard]] std::string to_string() const;
  /// @return The kind of this address.
  [[nodiscard]] Family family() const noexcept { return family_; }
  /// @return The port, or 0 if the address has no port.
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// @return The path, the abstract name, or the text after `fd:`. It is empty for the other families.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// @return The IP address in network byte order. An IPv4 address has the first four bytes.
  [[nodiscard]] const std::array<std::byte, 16>& ip() const noexcept { return ip_; }
  /// @return The interface index of the IPv6 zone (sin6_scope_id), or 0 if there is no zone.
  [[nodiscard]] std::uint32_t scope() const noexcept { return scope_; }

  /// Makes an address of an IP address and a port.
  /// @param family Family::ipv4, Family::ipv6, or Family::localhost, for which `ip` is not used.
  /// @param ip The IP address in network byte order. An IPv4 address has the first four bytes. The others
  /// must be zero, because operator== compares them.
  /// @param port The port, in the byte order of this machine.
  /// @param scope The interface index of the IPv6 zone, or 0.
  /// @throws std::system_error with EINVAL for another family.
  [[nodiscard]] static Address from_ip(Family family, const std::array<std::byte, 16>& ip, std::uint16_t port,
                                       std::uint32_t scope = 0);
  /// Makes an address of a name.
  /// @param family Family::unix_path, Family::unix_abstract or Family::inherited.
  /// @param name The path, the abstract name (without the @), or the text after `fd:`.
  /// @throws std::system_error with EINVAL for another family, or if the name is empty, has more than 107 bytes, or has
  /// a zero byte (which an abstract name may have).
  [[nodiscard]] static Address from_name(Family family, std::string name);

  /// @return True if both have the same family, port, zone, IP address and name. `fd:3` and `fd:name` are different,
  /// even if they mean the same socket.
  friend bool operator==(const Address&, const Address&) = default;

 private:
  friend struct detail::SocketAddress;  // a path that the kernel reports may have 108 bytes

  Family family_ = Family::none;
  std::uint16_t port_ = 0;
  std::uint32_t scope_ = 0;
  std::array<std::byte, 16> ip_{};
  std::string name_;
};

}  // namespace onloop
