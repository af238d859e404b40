// The common parts of all peers, so that they differ only in their library. A peer listens on 127.0.0.1 at the port of
// its first argument. 0 or no argument means a free port. It prints the address and ends on SIGTERM or SIGINT.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace peer {

constexpr int kBacklog = 4096;
constexpr std::size_t kBufferSize = std::size_t{64} * 1024;  // raw_epoll_echo reads at most so many bytes at once

[[noreturn]] inline void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

// Ends the program if a call of a library has failed. The error of a library is not in errno.
inline void require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

inline std::uint16_t port_argument(int argc, char** argv) {
  return static_cast<std::uint16_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0);
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// The handler exits at once: nothing is left to do, and no loop needs an extra watch for it. SIGPIPE is ignored: some
// libraries write with plain write, and a client that leaves would otherwise end the program.
inline void end_on_signals() {
  for (const int number : {SIGTERM, SIGINT}) {
    if (std::signal(number, [](int) { _exit(0); }) == SIG_ERR) die("signal");
  }
  if (std::signal(SIGPIPE, SIG_IGN) == SIG_ERR) die("signal");
}

// Must be the last call before the loop runs. The reader of the line connects at once, and counts the open descriptors.
inline void announce(std::uint16_t port) {
  end_on_signals();
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
}

// The same for a listening socket that is known only by its descriptor.
inline void announce_socket(int listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) die("getsockname");
  announce(ntohs(address.sin_port));
}

// Makes a non-blocking listening socket.
inline int listen_on_loopback(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  const sockaddr_in address = loopback(port);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) die("socket");
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) die("bind");
  if (listen(fd, kBacklog) != 0) die("listen");
  return fd;
}

inline void set_nodelay(int fd) {
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("setsockopt");
}

// Returns a connected non-blocking socket, or -1 if no client is waiting. Callers call it until it returns -1.
inline int accept_next(int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0 && errno == EAGAIN) return -1;
    if (fd < 0) die("accept4");
    set_nodelay(fd);
    return fd;
  }
}

}  // namespace peer
