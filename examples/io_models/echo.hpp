#pragma once
// The echo itself, for a blocking and for a non-blocking socket. The models differ in when they call these functions.
#include <sys/socket.h>
#include <sys/types.h>
#include <onloop/descriptor.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>
#include <vector>

namespace model {

using Buffer = std::array<char, 16 * 1024>;

/// Makes one recv, and as many sends as its bytes need, on a blocking socket.
///
/// @return False if the client has ended or is lost.
[[nodiscard]] inline bool echo_once(int fd) {
  Buffer buffer;
  const ssize_t received = recv(fd, buffer.data(), buffer.size(), 0);
  if (received <= 0) return received < 0 && errno == EINTR;
  for (ssize_t done = 0; done < received;) {
    const ssize_t sent = send(fd, buffer.data() + done, static_cast<std::size_t>(received - done), MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return false;
    if (sent > 0) done += sent;
  }
  return true;
}

/// Serves a client on a blocking socket for all of its life, and then closes the socket.
inline void serve(onloop::Descriptor client) {
  while (echo_once(client.get())) {
  }
}

/// A client on a non-blocking socket. It owns the socket. It keeps the bytes that the kernel doesn't take, and receives
/// nothing more until they are sent. So a client that doesn't read costs one buffer.
class Client {
 public:
  explicit Client(onloop::Descriptor socket) : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// @return True if step() waits for the socket to be writable. False if it waits for the socket to be readable.
  [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }
  /// @return True if the client has ended or is lost.
  [[nodiscard]] bool is_over() const { return over_; }

  /// Does what can be done without waiting. It sends the rest, or it receives once and sends that.
  void step() {
    if (has_unsent()) {
      unsent_.erase(unsent_.begin(), unsent_.begin() + send_some(unsent_.data(), unsent_.size()));
      return;
    }
    static Buffer buffer;
    const ssize_t received = recv(fd(), buffer.data(), buffer.size(), 0);
    if (received <= 0) {
      over_ = received == 0 || !is_transient();
      return;
    }
    const std::ptrdiff_t sent = send_some(buffer.data(), static_cast<std::size_t>(received));
    unsent_.assign(buffer.begin() + sent, buffer.begin() + received);
  }

 private:
  static bool is_transient() { return errno == EAGAIN || errno == EINTR; }

  std::ptrdiff_t send_some(const char* data, std::size_t size) {
    const ssize_t sent = send(fd(), data, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    over_ = !is_transient();
    return 0;
  }

  onloop::Descriptor socket_;
  std::vector<char> unsent_;
  bool over_ = false;
};

}  // namespace model
