#pragma once
// The parts that all models need and that are not their subject: arguments, the listening socket, and the end.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace model {

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
inline int listen_at_argument(int argc, char** argv, int flags = 0) {
  sockaddr_in address = to_address(argc > 1 ? argv[1] : "127.0.0.1:0");
  socklen_t size = sizeof address;
  const int on = 1;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) die("socket");
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) die("bind");
  if (listen(fd, SOMAXCONN) != 0) die("listen");
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) die("getsockname");
  std::array<char, INET_ADDRSTRLEN> host{};
  inet_ntop(AF_INET, &address.sin_addr, host.data(), host.size());
  std::printf("listening on %s:%d\n", host.data(), ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

/// Accepts the next client. Ends the program if it may have no more descriptors.
///
/// @param flags SOCK_NONBLOCK or 0.
/// @return The socket of the client, or -1 if there is no client now.
inline int accept_client(int listener, int flags = 0) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | flags);
  if (fd < 0) {
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) die("accept4");
    return -1;
  }
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("setsockopt");
  return fd;
}

}  // namespace model
