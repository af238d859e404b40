#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.hpp"

namespace onloop::detail {

/// What the two sides of a takeover say to each other. Exporting: hello, then listeners and connections, each
/// connection followed by its data, then end; after acknowledge, go. The importing side says go itself if the other
/// one is silent after that. Either side at any time before that: give_up.
/// docs/takeover.md says what it means if any of them is lost.
enum class FrameType : std::uint32_t { hello = 1, listener, connection, data, end, acknowledge, go, give_up };

/// Frames over a UNIX stream socket, each a type, a length and so many bytes, in the host's own byte order; and
/// descriptors, which travel in the same order as the frames that speak of them.
class Channel {
 public:
  static constexpr std::size_t kLongest = 64 * 1024;  // bytes of a frame, its head not counted
  static constexpr std::size_t kHead = 8;             // bytes before those of a frame
  static constexpr std::size_t kMostFds = 253;        // of one message: SCM_MAX_FD of Linux

  struct Frame {
    FrameType type;
    std::span<const std::byte> bytes;  // valid until the next read()
  };

  explicit Channel(UniqueFd socket) noexcept : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// The socket is its giver's again.
  void give_back() noexcept { static_cast<void>(socket_.release()); }

  // ---- sending ----
  /// Queues a frame, of at most kLongest bytes.
  void put(FrameType type, std::span<const std::byte> bytes = {});
  /// Queues a descriptor, which stays the caller's, and open, until sent() is true.
  void put_fd(int fd) { fds_out_.push_back(fd); }
  /// Whether another frame may be put with `fds` descriptors, so that all goes in one message.
  [[nodiscard]] bool room_for(std::size_t fds) const noexcept {
    return fds_out_.size() + fds <= kMostFds && bytes_out_.size() < kLongest;
  }
  [[nodiscard]] bool sent() const noexcept { return bytes_out_.empty(); }
  /// Something of what is queued was sent.
  [[nodiscard]] bool is_amid() const noexcept { return sent_ > 0; }
  /// Forgets what is queued, but for the rest of a frame that was sent in part.
  void drop_queued() noexcept;
  /// Nothing is sent any more, not even the rest of what is queued.
  void mute() noexcept;
  /// Sends as much as the kernel takes. Throws std::system_error. False: the kernel has too many descriptors under way
  /// (ETOOMANYREFS), or no memory for a moment, and says nothing when that is over.
  [[nodiscard]] bool send();

  // ---- receiving ----
  /// Reads what is there. False at the end. Throws std::system_error.
  [[nodiscard]] bool read();
  /// Bytes that have come and were not taken, whether they can be read or not.
  [[nodiscard]] std::size_t untaken() const noexcept;
  /// Whether the other side has closed its end, by what the kernel knows of it and not by the error of some call.
  [[nodiscard]] bool peer_closed() const noexcept;
  /// What the other side sends from now on fails there with EPIPE. What has come already can be read. False: that
  /// could not be done.
  [[nodiscard]] bool hear_no_more() noexcept;
  /// Takes the next frame that has come in full, if there is one. Throws std::system_error (EPROTO) if it is too long.
  [[nodiscard]] bool next(Frame& frame);
  /// The next descriptor that has come; throws EPROTO if there is none.
  [[nodiscard]] UniqueFd take_fd();
  [[nodiscard]] bool fds_left() const noexcept { return !fds_in_.empty(); }

 private:
  UniqueFd socket_;
  std::vector<std::byte> bytes_out_;
  std::vector<int> fds_out_;  // travel with the first of bytes_out_
  std::size_t sent_ = 0;      // of bytes_out_
  bool muted_ = false;
  std::vector<std::byte> bytes_in_;
  std::size_t begin_ = 0;  // of what was not taken yet
  std::deque<UniqueFd> fds_in_;
};

/// The kernel has nothing to send or to receive with for a moment; what has come stays there.
[[nodiscard]] bool is_passing(int error) noexcept;

/// The process at the other end of `socket` runs as the same user; else throws std::system_error that begins with
/// `what`: EPERM, or ENOTSOCK and the like.
void check_same_user(int socket, const char* what);

}  // namespace onloop::detail
