#pragma once
#include <sys/socket.h>
#include <onloop/address.hpp>
#include <onloop/descriptor.hpp>

#include <cerrno>
#include <cstdint>
#include <vector>

namespace onloop::detail {

/// An Address as the kernel wants it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);

  SocketAddress() noexcept = default;
  explicit SocketAddress(const Address& address) noexcept;  // not for localhost and inherited
  [[nodiscard]] sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] Address to_address() const;
};

/// The addresses that one stands for: both loopback addresses for `localhost`, else itself.
[[nodiscard]] std::vector<Address> expand(const Address& address);

/// A new non-blocking stream socket for `address`; empty with errno set if there can be none.
[[nodiscard]] Descriptor make_socket(const Address& address) noexcept;

[[nodiscard]] Address local_address(int fd);
[[nodiscard]] Address peer_address(int fd);
[[nodiscard]] inline bool would_block(int error) noexcept {
  return error == EAGAIN || error == EWOULDBLOCK;
}
void set_option(int fd, int level, int option, int value) noexcept;
/// -1 if the descriptor has no such option.
[[nodiscard]] int get_option(int fd, int level, int option) noexcept;
/// Bytes that were sent and that the peer has not taken: SIOCOUTQ of tcp(7). A UNIX socket counts what they take up in
/// memory, which is more.
[[nodiscard]] std::uint64_t in_kernel_queue(int fd) noexcept;
/// Nanoseconds since the peer last acknowledged something, or a little less; 0 where the kernel does not know.
[[nodiscard]] std::uint64_t since_acknowledgement(int fd) noexcept;
/// Whether bytes of the peer's lie in the socket.
[[nodiscard]] bool has_input(int fd) noexcept;

}  // namespace onloop::detail
