#include "core/net/bind.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/error.hpp"
#include "core/net/socket.hpp"
#include "core/net/unix_file.hpp"

namespace onloop::detail {
namespace {

constexpr int kPortAttempts = 32;  // for one port that is free on both loopback addresses

class Binding {
 public:
  Binding(const ListenOptions& options, UnixFile& file) noexcept : options_(options), file_(file) {}

  /// Returns 0 if at least one of the sockets that `address` stands for listens, else an errno value.
  int bind_all(const Address& address) {
    sockets_.clear();
    std::uint16_t port = address.port();
    int error = 0;
    for (Address each : expand(address)) {
      if (port != each.port()) each = Address::from_ip(each.family(), each.ip(), port, each.scope());
      error = bind_one(each);
      if (error == 0) {
        port = local_address(sockets_.back().get()).port();
        continue;
      }
      failed_ = each;
      const bool missing = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;  // a machine without IPv6, or without IPv4
      if (address.family() != Address::Family::localhost || !missing) return error;
    }
    return sockets_.empty() ? error : 0;
  }

  /// The address on which bind_all() has failed.
  [[nodiscard]] const Address& failed() const noexcept { return failed_; }
  [[nodiscard]] std::vector<UniqueFd> take_sockets() noexcept { return std::move(sockets_); }

 private:
  int bind_one(const Address& address) {
    UniqueFd fd = make_socket(address);
    if (!fd) return errno;
    bool listens = false;
    // Before the socket is closed: from then on its file is stale, and another process may replace it.
    const AtScopeExit unlink([&] {
      if (!listens) file_.remove();
    });
    if (address.family() == Address::Family::unix_path) {
      file_.bind(fd.get(), address, options_.unix_mode, options_.replace_stale, "listen on " + address.to_string());
    } else {
      set_options(fd.get(), address);
      const SocketAddress to(address);
      if (::bind(fd.get(), to.data(), to.length) < 0) return errno;
    }
    if (::listen(fd.get(), options_.backlog) < 0) return errno;
    sockets_.push_back(std::move(fd));
    listens = true;
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
  UnixFile& file_;
  std::vector<UniqueFd> sockets_;
  Address failed_;
};

}  // namespace

std::vector<UniqueFd> bind_listening(const Address& address, const ListenOptions& options, UnixFile& file) {
  Binding binding(options, file);
  const bool any_port = address.family() == Address::Family::localhost && address.port() == 0;
  for (int attempts = any_port ? kPortAttempts : 1;; --attempts) {
    const int error = binding.bind_all(address);
    if (error == 0) return binding.take_sockets();
    // The port that the kernel gave on one loopback address may be taken on the other one. Then another port is tried.
    if (error != EADDRINUSE || attempts == 1) throw_error(error, "listen on " + binding.failed().to_string());
  }
}

}  // namespace onloop::detail
