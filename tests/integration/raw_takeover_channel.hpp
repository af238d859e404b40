#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "peer.hpp"

namespace onloop::test {

/// The protocol on the socket of a takeover. It is written here a second time, so that a change of the protocol is
/// noticed: processes of two versions may meet. Each frame has a type, a length, and this number of bytes.
enum class Frame : std::uint32_t { hello = 1, listener, connection, data, end, acknowledge, go, give_up };
[[nodiscard]] std::string frame(std::uint32_t type, std::string_view bytes = {});
[[nodiscard]] inline std::string frame(Frame type, std::string_view bytes = {}) {
  return frame(static_cast<std::uint32_t>(type), bytes);
}

/// One end of this socket, which the test holds. It notes what comes, and sends what the test wants.
class RawTakeoverChannel {
 public:
  explicit RawTakeoverChannel(Fd socket);

  /// Reads what is there, at most `at_most` bytes.
  void read(std::size_t at_most = SIZE_MAX);
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] std::vector<int> fds() const;
  [[nodiscard]] bool ended() const { return ended_; }
  /// True if a whole frame of this type has come.
  [[nodiscard]] bool has(Frame type) const;

  /// The frame that acknowledges the end record that has come. If none has come, the frame is empty.
  [[nodiscard]] std::string acknowledgement() const;

  /// Sends all bytes and descriptors, in pieces with at most 250 descriptors. The caller keeps its descriptors. Does
  /// not wait: returns false if the other side does not read, or has closed.
  bool send(std::string_view bytes, std::vector<int> fds = {}) const;
  void finish() const;        ///< ends the sending; what comes can still be read
  void hear_no_more() const;  ///< from now on, the other side cannot send to it
  void close();               ///< like the end of its process: also closes the received descriptors

 private:
  Fd socket_;
  std::string bytes_;
  std::vector<Fd> fds_;
  bool ended_ = false;
};

}  // namespace onloop::test
