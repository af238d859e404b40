#pragma once
// An event loop on epoll that only echoes.
#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>

#include "echo.hpp"
#include "model.hpp"

namespace model {

class EpollLoop {
 public:
  /// @param listener A non-blocking socket.
  explicit EpollLoop(Descriptor listener) : listener_(std::move(listener)) {
    if (!epoll_) die("epoll_create1");
    watch(EPOLL_CTL_ADD, listener_.get(), EPOLLIN);
  }

  /// Waits for at most `timeout_ms` milliseconds, and then serves the ready clients. -1 means without a limit.
  void turn(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == listener_.get()) {
        accept_one();
      } else {
        step(clients_.at(fd));
      }
    }
  }

 private:
  void watch(int operation, int fd, std::uint32_t interest) {
    epoll_event event{};
    event.events = interest;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), operation, fd, &event) != 0) die("epoll_ctl");
  }

  void accept_one() {
    Descriptor client = accept_client(listener_, SOCK_NONBLOCK);
    if (!client) return;
    const int fd = client.get();
    clients_.emplace(fd, std::move(client));
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
  }

  void step(Client& client) {
    const bool had_unsent = client.has_unsent();
    client.step();
    if (client.is_over()) {
      clients_.erase(client.fd());  // this closes the socket, which also takes it out of the epoll set
    } else if (client.has_unsent() != had_unsent) {
      watch(EPOLL_CTL_MOD, client.fd(), client.has_unsent() ? EPOLLOUT : EPOLLIN);
    }
  }

  Descriptor listener_;
  Descriptor epoll_{epoll_create1(EPOLL_CLOEXEC)};
  std::unordered_map<int, Client> clients_;  // the key is the descriptor
};

}  // namespace model
