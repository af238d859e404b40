#include "core/net/bind.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/socket.hpp"

namespace onloop::detail {
namespace {

constexpr int kPortAttempts = 32;  // for one port that is free on both loopback addresses

class Binding {
 public:
  explicit Binding(const ListenOptions& options) noexcept : options_(options) {}

  /// Returns 0 if at least one of the sockets that `address` stands for listens, else an errno value.
  int bind_all(const Address& address) {
    bound_.sockets.clear();
    std::uint16_t port = address.port();
    int error = 0;
    for (Address each : expand(address)) {
      if (port != each.port()) each = Address::from_ip(each.family(), each.ip(), port, each.scope());
      error = bind_one(each);
      if (error == 0) {
        port = local_address(bound_.sockets.back().get()).port();
        continue;
      }
      failed_ = each;
      const bool missing = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;  // a machine without IPv6, or without IPv4
      if (address.family() != Address::Family::localhost || !missing) return error;
    }
    return bound_.sockets.empty() ? error : 0;
  }

  /// The address on which bind_all() has failed.
  [[nodiscard]] const Address& failed() const noexcept { return failed_; }
  [[nodiscard]] BoundSockets take_bound() noexcept { return std::move(bound_); }

 private:
  int bind_one(const Address& address) {
    Descriptor fd = make_socket(address);
    if (!fd) return errno;
    UnixFile file;
    if (address.family() == Address::Family::unix_path) {
      file.bind(fd.get(), address, options_.unix_mode, options_.replace_stale, "listen on " + address.to_string());
    } else {
      set_options(fd.get(), address);
      const SocketAddress to(address);
      if (::bind(fd.get(), to.data(), to.length) < 0) return errno;
    }
    if (::listen(fd.get(), options_.backlog) < 0) return errno;
    bound_.sockets.push_back(std::move(fd));
    bound_.file = std::move(file);
    return 0;
  }

  void set_options(int fd, const Address& address) const noexcept {
    if (address.family() == Address::Family::unix_abstract) return;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (options_.reuse_port) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // Linux hands it down to each accepted socket
    if (address.family() == Address::Family::ipv6) {
      set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options_.ipv6_only ? 1 : 0);
    }
  }

  const ListenOptions& options_;
  BoundSockets bound_;
  Address failed_;
};

}  // namespace

BoundSockets bind_listening(const Address& address, const ListenOptions& options) {
  Binding binding(options);
  const bool any_port = address.family() == Address::Family::localhost && address.port() == 0;
  for (int attempts = any_port ? kPortAttempts : 1;; --attempts) {
    const int error = binding.bind_all(address);
    if (error == 0) return binding.take_bound();
    // The port that the kernel gave on one loopback address may be taken on the other one. Then another port is tried.
    if (error != EADDRINUSE || attempts == 1) throw_error(error, "listen on " + binding.failed().to_string());
  }
}

}  // namespace onloop::detail
