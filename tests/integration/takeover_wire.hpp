#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "peer.hpp"

namespace onloop::test {

/// What goes over the socket of a takeover, written down here a second time: a process of one version may meet one of
/// another, so a change of it has to be noticed. Each frame is a type, a length and so many bytes.
enum class Frame : std::uint32_t { hello = 1, listener, connection, data, end, acknowledge, go, give_up };
[[nodiscard]] std::string frame(std::uint32_t type, std::string_view bytes = {});
[[nodiscard]] inline std::string frame(Frame type, std::string_view bytes = {}) {
  return frame(static_cast<std::uint32_t>(type), bytes);
}

/// One end of that socket, in the hands of the test: it notes what comes, and sends what it is told.
class Wire {
 public:
  explicit Wire(Fd socket);

  /// Reads what is there, at most `at_most` bytes.
  void read(std::size_t at_most = SIZE_MAX);
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] std::vector<int> fds() const;
  [[nodiscard]] bool ended() const { return ended_; }
  /// Whether a whole frame of this type is among what has come.
  [[nodiscard]] bool has(Frame type) const;

  /// What acknowledges the end record that has come; an empty frame if none has.
  [[nodiscard]] std::string acknowledgement() const;

  /// All of it, in pieces that travel with at most 250 descriptors; these stay the caller's. Does not wait: false if
  /// the other side does not read, or has closed.
  bool send(std::string_view bytes, std::vector<int> fds = {}) const;
  void finish() const;        ///< nothing more is sent; what comes can still be read
  void hear_no_more() const;  ///< what is sent to it from now on fails
  void close();               ///< like the end of its process: what it has got is closed, too

 private:
  Fd socket_;
  std::string bytes_;
  std::vector<Fd> fds_;
  bool ended_ = false;
};

}  // namespace onloop::test
