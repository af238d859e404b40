#include "core/net/socket.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace onloop::detail {

SocketAddress::SocketAddress(const Address& address) noexcept {
  switch (address.family()) {
    case Address::Family::ipv4: {
      auto& in = reinterpret_cast<sockaddr_in&>(storage);
      in.sin_family = AF_INET;
      in.sin_port = htons(address.port());
      std::memcpy(&in.sin_addr, address.ip().data(), sizeof in.sin_addr);
      length = sizeof in;
      break;
    }
    case Address::Family::ipv6: {
      auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
      in6.sin6_family = AF_INET6;
      in6.sin6_port = htons(address.port());
      in6.sin6_scope_id = address.scope();
      std::memcpy(&in6.sin6_addr, address.ip().data(), sizeof in6.sin6_addr);
      length = sizeof in6;
      break;
    }
    default: {
      auto& un = reinterpret_cast<sockaddr_un&>(storage);
      const std::size_t abstract = address.family() == Address::Family::unix_abstract ? 1 : 0;
      const std::size_t size = std::min(address.name().size(), sizeof un.sun_path - 1);
      un.sun_family = AF_UNIX;
      std::memcpy(un.sun_path + abstract, address.name().data(), size);
      length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size + 1);
      break;
    }
  }
}

Address SocketAddress::to_address() const {
  std::array<std::byte, 16> ip{};
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    std::memcpy(ip.data(), &in.sin_addr, sizeof in.sin_addr);
    return Address::from_ip(Address::Family::ipv4, ip, ntohs(in.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(storage);
    std::memcpy(ip.data(), &in6.sin6_addr, sizeof in6.sin6_addr);
    return Address::from_ip(Address::Family::ipv6, ip, ntohs(in6.sin6_port), in6.sin6_scope_id);
  }
  const auto& un = reinterpret_cast<const sockaddr_un&>(storage);
  const auto size = static_cast<std::size_t>(length) - std::min<std::size_t>(length, offsetof(sockaddr_un, sun_path));
  if (storage.ss_family != AF_UNIX || size == 0) return {};
  Address address;
  const bool abstract = un.sun_path[0] == '\0';
  address.family_ = abstract ? Address::Family::unix_abstract : Address::Family::unix_path;
  address.name_ =
      abstract ? std::string(un.sun_path + 1, size - 1) : std::string(un.sun_path, strnlen(un.sun_path, size));
  return address;
}

std::vector<Address> expand(const Address& address) {
  if (address.family() != Address::Family::localhost) return {address};
  std::array<std::byte, 16> six{};
  six[15] = std::byte{1};
  const std::array<std::byte, 16> four{std::byte{127}, std::byte{0}, std::byte{0}, std::byte{1}};
  return {Address::from_ip(Address::Family::ipv6, six, address.port()),
          Address::from_ip(Address::Family::ipv4, four, address.port())};
}

Descriptor make_socket(const Address& address) noexcept {
  const int domain = address.family() == Address::Family::ipv4   ? AF_INET
                     : address.family() == Address::Family::ipv6 ? AF_INET6
                                                                 : AF_UNIX;
  return Descriptor(socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

Address local_address(int fd) {
  SocketAddress address;
  return fd >= 0 && getsockname(fd, address.data(), &address.length) == 0 ? address.to_address() : Address{};
}

Address peer_address(int fd) {
  SocketAddress address;
  if (fd < 0) return {};
  if (getpeername(fd, address.data(), &address.length) == 0) return address.to_address();
  // After a reset getpeername refuses, and SO_PEERNAME still knows it. It wants the exact length.
  const int domain = get_option(fd, SOL_SOCKET, SO_DOMAIN);
  if (domain != AF_INET && domain != AF_INET6) return {};
  address.length = domain == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  const int error = getsockopt(fd, SOL_SOCKET, SO_PEERNAME, address.data(), &address.length);
  return error == 0 ? address.to_address() : Address{};
}

void set_option(int fd, int level, int option, int value) noexcept {
  (void)setsockopt(fd, level, option, &value, sizeof value);
}

int get_option(int fd, int level, int option) noexcept {
  int value = -1;
  socklen_t size = sizeof value;
  return getsockopt(fd, level, option, &value, &size) == 0 ? value : -1;
}

std::uint64_t in_kernel_queue(int fd) noexcept {
  int count = 0;
  return fd >= 0 && ioctl(fd, SIOCOUTQ, &count) == 0 && count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

std::uint64_t since_acknowledgement(int fd) noexcept {
  constexpr std::uint64_t kMillisecond = 1'000'000;  // ns
  constexpr unsigned kTick = 10;  // ms, the longest of the kernel's clock: it may say so much too much
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
  return info.tcpi_last_ack_recv > kTick ? (info.tcpi_last_ack_recv - kTick) * kMillisecond : 0;
}

bool has_input(int fd) noexcept {
  int count = 0;
  return ioctl(fd, FIONREAD, &count) == 0 && count > 0;
}

}  // namespace onloop::detail
