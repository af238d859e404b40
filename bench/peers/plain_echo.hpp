// The echo of the peers that only watch descriptors in their loop. It makes a recv and a send for each message, as in
// raw_epoll_echo. So these peers differ from raw_epoll_echo only in the loop.
#pragma once

#include <onloop/descriptor.hpp>

#include <array>
#include <vector>

#include "peer.hpp"

namespace peer {

class PlainEcho {
 public:
  // What the loop must do with its watch after a step.
  enum class Watch { same, readable, writable, over };

  // Takes the ownership of the socket.
  explicit PlainEcho(int fd) : socket_(fd) {}

  [[nodiscard]] int fd() const { return socket_.get(); }

  // Must be called when the descriptor is ready for the watched direction, which is readable at first. It must also be
  // called after an error or a hang-up; recv or send then fails.
  [[nodiscard]] Watch step() { return unsent_.empty() ? read_and_send() : send_rest(); }

 private:
  static bool is_transient() { return errno == EAGAIN || errno == EINTR; }

  Watch read_and_send() {
    static std::array<std::byte, kBufferSize> buffer;
    const ssize_t received = recv(fd(), buffer.data(), buffer.size(), 0);
    if (received == 0) return Watch::over;
    if (received < 0) return is_transient() ? Watch::same : Watch::over;
    ssize_t sent = send(fd(), buffer.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL);
    if (sent == received) return Watch::same;
    if (sent < 0 && !is_transient()) return Watch::over;
    if (sent < 0) sent = 0;
    unsent_.assign(buffer.begin() + sent, buffer.begin() + received);
    return Watch::writable;
  }

  Watch send_rest() {
    const ssize_t sent = send(fd(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent < 0) return is_transient() ? Watch::same : Watch::over;
    unsent_.erase(unsent_.begin(), unsent_.begin() + sent);
    return unsent_.empty() ? Watch::readable : Watch::same;
  }

  onloop::Descriptor socket_;
  std::vector<std::byte> unsent_;  // usually empty; while it is not, the descriptor is watched only for writing
};

}  // namespace peer
