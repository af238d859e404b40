#include "conformance/descriptors.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <system_error>

namespace onloop::conformance {
namespace {

int check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

Descriptor tcp_socket(int flags) {
  return Descriptor{check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket")};
}

sockaddr_in bind_loopback(const Descriptor& socket) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  check(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), "bind");
  check(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
  return address;
}

}  // namespace

DescriptorLimit::DescriptorLimit(int free) {
  constexpr int kAboveAllThatIsOpen = 64;
  do {
    taken_.emplace_back(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
  } while (taken_.back().get() < kAboveAllThatIsOpen);
  ::getrlimit(RLIMIT_NOFILE, &former_);
  rlimit tight = former_;
  tight.rlim_cur = static_cast<rlim_t>(taken_.back().get() + 1 + free);
  ::setrlimit(RLIMIT_NOFILE, &tight);
}

DescriptorLimit::~DescriptorLimit() {
  ::setrlimit(RLIMIT_NOFILE, &former_);
}

Pair socket_pair() {
  int fds[2];
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), "socketpair");
  return {Descriptor{fds[0]}, Descriptor{fds[1]}};
}

Pair pipe_pair() {
  int fds[2];
  check(::pipe2(fds, O_NONBLOCK | O_CLOEXEC), "pipe2");
  return {Descriptor{fds[0]}, Descriptor{fds[1]}};
}

Pair tcp_pair() {
  const Descriptor listener = tcp_socket(0);
  const sockaddr_in address = bind_loopback(listener);
  check(::listen(listener.get(), 1), "listen");
  Descriptor near = tcp_client(ntohs(address.sin_port));
  sockaddr_in wanted{};
  socklen_t size = sizeof wanted;
  check(::getsockname(near.get(), reinterpret_cast<sockaddr*>(&wanted), &size), "getsockname");
  // Another process may connect here by mistake, because it means somebody else who had this port before.
  for (;;) {
    sockaddr_in from{};
    size = sizeof from;
    Descriptor far{check(
        ::accept4(listener.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4")};
    if (from.sin_port == wanted.sin_port) return {std::move(near), std::move(far)};
  }
}

Descriptor tcp_client(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  Descriptor socket = tcp_socket(0);
  check(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
  check(::fcntl(socket.get(), F_SETFL, O_NONBLOCK), "fcntl");
  return socket;
}

Descriptor refused_socket() {
  const Descriptor holder = tcp_socket(0);  // bound but not listening, so the port stays refused
  const sockaddr_in address = bind_loopback(holder);
  Descriptor socket = tcp_socket(SOCK_NONBLOCK);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != EINPROGRESS) {
    throw std::runtime_error("the connect was not refused later");
  }
  return socket;
}

void reset(Descriptor& socket) {
  const linger at_once{1, 0};
  check(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "SO_LINGER");
  socket.reset();
}

bool put(int fd, std::string_view data) {
  return ::write(fd, data.data(), data.size()) == static_cast<ssize_t>(data.size());
}

std::string take(int fd, std::size_t limit) {
  std::string data(limit, '\0');
  const ssize_t got = ::read(fd, data.data(), limit);
  data.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return data;
}

std::size_t fill(int fd) {
  static const std::string block(65536, 'f');
  std::size_t total = 0;
  ssize_t written = 0;
  while ((written = ::write(fd, block.data(), block.size())) > 0) total += static_cast<std::size_t>(written);
  while ((written = ::write(fd, block.data(), 1)) > 0) ++total;
  return total;
}

std::size_t drain(int fd) {
  std::size_t total = 0;
  for (std::string data = take(fd); !data.empty(); data = take(fd)) total += data.size();
  return total;
}

}  // namespace onloop::conformance
