#pragma once
// The parts that all models need and that are not their subject: arguments, the listening socket, and the end.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <onloop/descriptor.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace model {

using onloop::Descriptor;

/// Prints the reason, which is in errno, and ends the program with status 1. It uses _exit, so it may be called while
/// there are other threads.
[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  _exit(1);
}

/// Makes SIGTERM and SIGINT end the program with status 0, wherever it waits. The kernel closes everything.
inline void end_on_signal() {
  struct sigaction action {};
  action.sa_handler = [](int) { _exit(0); };
  for (const int number : {SIGTERM, SIGINT}) {
    if (sigaction(number, &action, nullptr) != 0) die("sigaction");
  }
}

/// Reads "127.0.0.1:PORT", or another address of the loopback network. Ends the program if the text is anything else.
inline sockaddr_in to_address(std::string_view text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  const auto colon = text.rfind(':');
  const std::string host{text.substr(0, colon)};
  const std::string_view digits = colon == text.npos ? "" : text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const bool has_port = !digits.empty() && error == std::errc{} && end == digits.data() + digits.size();
  if (!has_port || inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      ntohl(address.sin_addr.s_addr) >> IN_CLASSA_NSHIFT != IN_LOOPBACKNET) {
    std::fprintf(stderr, "ADDRESS is 127.0.0.1:PORT, not \"%.*s\"\n", static_cast<int>(text.size()), text.data());
    _exit(2);
  }
  address.sin_port = htons(port);
  return address;
}

/// Makes a listening socket at ADDRESS, the first argument of the program. The default is 127.0.0.1:0. For port 0 the
/// kernel chooses a free port. The function prints the address, so signals must be set up before.
///
/// @param flags SOCK_NONBLOCK or 0.
inline Descriptor listen_at_argument(int argc, char** argv, int flags = 0) {
  sockaddr_in address = to_address(argc > 1 ? argv[1] : "127.0.0.1:0");
  socklen_t size = sizeof address;
  const int on = 1;
  Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!listener || setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) die("socket");
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) die("bind");
  if (listen(listener.get(), SOMAXCONN) != 0) die("listen");
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) die("getsockname");
  std::array<char, INET_ADDRSTRLEN> host{};
  inet_ntop(AF_INET, &address.sin_addr, host.data(), host.size());
  std::printf("listening on %s:%d\n", host.data(), ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

/// Accepts the next client. Ends the program if it may have no more descriptors.
///
/// @param flags SOCK_NONBLOCK or 0.
/// @return The socket of the client, or none if there is no client now.
inline Descriptor accept_client(const Descriptor& listener, int flags = 0) {
  Descriptor client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | flags));
  if (!client) {
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die("accept4");
    return client;
  }
  const int on = 1;
  if (setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("setsockopt");
  return client;
}

}  // namespace model
