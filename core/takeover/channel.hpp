#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <onloop/descriptor.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace onloop::detail {

/// The frames that the two sides of a takeover send to each other:
///
/// - The exporter sends hello, then the listeners and connections, each connection followed by its data, then end.
/// - The importer answers with acknowledge.
/// - The exporter answers acknowledge with go. If the exporter stays silent, the importer sends go.
/// - Either side may send give_up at any time before go.
///
/// docs/takeover.md says what happens if one of them is lost.
enum class FrameType : std::uint32_t { hello = 1, listener, connection, data, end, acknowledge, go, give_up };

/// Sends and receives frames and descriptors over a UNIX stream socket. It never blocks.
///
/// A frame has a type, a length, and as many bytes as the length says, in the byte order of the host. Descriptors
/// arrive in the same order as the frames that they belong to.
///
/// The Channel owns its socket. A Takeover owns the Channel, and uses it on the context's thread.
class Channel {
 public:
  static constexpr std::size_t kLongest = 64 * 1024;  // bytes of a frame without its head
  static constexpr std::size_t kHead = 8;             // bytes of the head of a frame: the type and the length
  static constexpr std::size_t kMostFds = 253;        // descriptors of one message: SCM_MAX_FD of Linux

  struct Frame {
    FrameType type;
    std::span<const std::byte> bytes;  // valid until the next read()
  };

  explicit Channel(Descriptor socket) noexcept : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// Gives the ownership of the socket back to the caller that has given it.
  void give_back() noexcept { static_cast<void>(socket_.release()); }

  // ---- sending ----
  /// Queues a frame. `bytes` must have at most kLongest bytes. Without effect after mute().
  void put(FrameType type, std::span<const std::byte> bytes = {});
  /// Queues a descriptor. The caller still owns it, and must keep it open until sent() is true.
  void put_fd(int fd) { fds_out_.push_back(fd); }
  /// @return True if another frame with `fds` descriptors may be put, and everything queued still goes in one message.
  [[nodiscard]] bool room_for(std::size_t fds) const noexcept {
    return fds_out_.size() + fds <= kMostFds && bytes_out_.size() < kLongest;
  }
  /// @return True if nothing is queued.
  [[nodiscard]] bool sent() const noexcept { return bytes_out_.empty(); }
  /// @return True if a part of what is queued was sent, and the rest was not.
  [[nodiscard]] bool is_amid() const noexcept { return sent_ > 0; }
  /// Drops what is queued, except for the rest of a frame that was sent in part.
  void drop_queued() noexcept;
  /// Drops everything that is queued, even the rest of a frame that was sent in part. Nothing is sent from now on.
  void mute() noexcept;
  /// Sends as much as the kernel takes.
  /// @return False if the kernel can't send for the moment: too many descriptors are under way (ETOOMANYREFS), or there
  /// is no memory. The kernel does not report the end of this state, so the caller must try again after a while.
  /// @throws std::system_error
  [[nodiscard]] bool send();

  // ---- receiving ----
  /// Reads what is in the socket.
  /// @return False at the end: the other side has closed its end, and everything was read.
  /// @throws std::system_error
  [[nodiscard]] bool read();
  /// @return The number of bytes that have arrived and that next() has not taken. Bytes that can't be read count, too.
  [[nodiscard]] std::size_t untaken() const noexcept;
  /// @return True if the other side has closed its end. This asks poll(2). An error of another call does not count.
  [[nodiscard]] bool peer_closed() const noexcept;
  /// Shuts down the receiving side. From now on, sending fails in the other process with EPIPE. Bytes that have arrived
  /// already can still be read.
  /// @return False if this was not possible.
  [[nodiscard]] bool hear_no_more() noexcept;
  /// Takes the next complete frame.
  /// @return False if there is none.
  /// @throws std::system_error with EPROTO if the frame is too long, or of an unknown type.
  [[nodiscard]] bool next(Frame& frame);
  /// Takes the next descriptor that has arrived.
  /// @throws std::system_error with EPROTO if there is none.
  [[nodiscard]] Descriptor take_fd();
  /// @return True if descriptors have arrived that take_fd() has not taken.
  [[nodiscard]] bool fds_left() const noexcept { return !fds_in_.empty(); }

 private:
  Descriptor socket_;
  std::vector<std::byte> bytes_out_;
  std::vector<int> fds_out_;  // are sent with the first byte of bytes_out_
  std::size_t sent_ = 0;      // how many bytes of bytes_out_ were sent
  bool muted_ = false;
  std::vector<std::byte> bytes_in_;
  std::size_t begin_ = 0;  // where the bytes begin that next() has not taken
  std::deque<Descriptor> fds_in_;
};

/// @return True for an error that passes: for the moment the kernel can't send or receive. What has arrived is not
/// lost.
[[nodiscard]] bool is_passing(int error) noexcept;

/// Checks that the process at the other end of `socket` runs as the same user.
/// @throws std::system_error whose text begins with `what`. EPERM if that process runs as another user. EBADF,
/// ENOTSOCK, ENOTCONN or EPROTOTYPE if `socket` is not a connected UNIX stream socket.
void check_same_user(int socket, const char* what);

}  // namespace onloop::detail
