#pragma once
// The echo itself, for a socket that blocks and for one that doesn't. What a model is lies in when these are called.
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>
#include <vector>

namespace model {

using Buffer = std::array<char, 16 * 1024>;

/// One recv, and as many sends as that takes, on a blocking socket. False: the client has ended or is lost.
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

/// All of a client's life on a blocking socket, which is closed at its end.
inline void serve(int fd) {
  while (echo_once(fd)) {
  }
  close(fd);
}

/// A client on a non-blocking socket, which it owns. What the kernel doesn't take is kept, and nothing more is received
/// until that is sent: one buffer for each client that doesn't read.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}
  Client(Client&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), unsent_(std::move(other.unsent_)), over_(other.over_) {}
  Client& operator=(Client&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(unsent_, other.unsent_);
    std::swap(over_, other.over_);
    return *this;
  }
  ~Client() {
    if (fd_ >= 0) close(fd_);
  }

  [[nodiscard]] int fd() const { return fd_; }
  /// Whether step() waits for the socket to be writable; otherwise it waits for it to be readable.
  [[nodiscard]] bool has_unsent() const { return !unsent_.empty(); }
  /// The client has ended or is lost.
  [[nodiscard]] bool is_over() const { return over_; }

  /// What can be done at once, if anything: the rest is sent, or once received and sent.
  void step() {
    if (has_unsent()) {
      unsent_.erase(unsent_.begin(), unsent_.begin() + send_some(unsent_.data(), unsent_.size()));
      return;
    }
    static Buffer buffer;
    const ssize_t received = recv(fd_, buffer.data(), buffer.size(), 0);
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
    const ssize_t sent = send(fd_, data, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    over_ = !is_transient();
    return 0;
  }

  int fd_;
  std::vector<char> unsent_;
  bool over_ = false;
};

}  // namespace model
