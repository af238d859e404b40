// The practical limit that onloop-echo is measured against: an echo server on level-triggered epoll that makes only the
// necessary system calls. These are a wait for each batch, and a recv and a send for each message. It has no timers, no
// back-pressure beyond one buffer, no half-close and no callbacks. Nevertheless it is correct: it keeps what the kernel
// doesn't take, and stops reading until that is sent.
//
//     raw_epoll_echo [PORT]      listens on 127.0.0.1:PORT and prints it; SIGTERM or SIGINT end it
//
// PORT 0, or no argument, means a free port.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

struct Connection {
  int fd;
  std::vector<std::byte> unsent;  // usually empty; while it is not, EPOLLOUT is watched instead of EPOLLIN
};

constexpr int kBacklog = 4096;
std::array<std::byte, 64 * 1024> buffer;
std::array<epoll_event, 256> events;
int epoll = -1;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

void watch(int operation, Connection& connection, std::uint32_t interest) {
  epoll_event event{};
  event.events = interest;
  event.data.ptr = &connection;
  if (epoll_ctl(epoll, operation, connection.fd, &event) != 0) die("epoll_ctl");
}

void end(Connection& connection) {
  close(connection.fd);  // this closes the last reference to the socket, so it also leaves the epoll set
  delete &connection;
}

void accept_all(int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0 && errno == EAGAIN) return;
    if (fd < 0) die("accept4");
    const int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) die("setsockopt");
    watch(EPOLL_CTL_ADD, *new Connection{fd, {}}, EPOLLIN);
  }
}

void on_readable(Connection& connection) {
  const ssize_t received = recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (received <= 0) {
    if (received == 0 || (errno != EAGAIN && errno != EINTR)) end(connection);
    return;
  }
  ssize_t sent = send(connection.fd, buffer.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL);
  if (sent == received) return;
  if (sent < 0 && errno != EAGAIN && errno != EINTR) return end(connection);
  if (sent < 0) sent = 0;
  connection.unsent.assign(buffer.begin() + sent, buffer.begin() + received);
  watch(EPOLL_CTL_MOD, connection, EPOLLOUT);
}

void on_writable(Connection& connection) {
  const ssize_t sent = send(connection.fd, connection.unsent.data(), connection.unsent.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR) end(connection);
    return;
  }
  connection.unsent.erase(connection.unsent.begin(), connection.unsent.begin() + sent);
  if (connection.unsent.empty()) watch(EPOLL_CTL_MOD, connection, EPOLLIN);
}

int listen_on_loopback(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) die("socket");
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) die("bind");
  if (listen(fd, kBacklog) != 0) die("listen");
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) die("getsockname");
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) die("epoll_create1");
  // The handler calls _exit: nothing is left to do, and the loop needs no check for a signal.
  if (std::signal(SIGTERM, [](int) { _exit(0); }) == SIG_ERR) die("signal");
  if (std::signal(SIGINT, [](int) { _exit(0); }) == SIG_ERR) die("signal");

  Connection listener{listen_on_loopback(static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0)), {}};
  watch(EPOLL_CTL_ADD, listener, EPOLLIN);
  for (;;) {
    const int ready = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    if (ready < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      Connection& connection = *static_cast<Connection*>(event.data.ptr);
      if (&connection == &listener) {
        accept_all(listener.fd);
      } else if (connection.unsent.empty()) {
        on_readable(connection);  // also for an error or a hang-up: recv then fails
      } else {
        on_writable(connection);
      }
    }
  }
}
