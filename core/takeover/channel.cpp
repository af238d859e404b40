#include "core/takeover/channel.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "core/base/error.hpp"
#include "core/net/socket.hpp"

namespace onloop::detail {
namespace {

/// The head of a frame, as it is sent.
struct Head {
  FrameType type;
  std::uint32_t length;
};

/// Asks poll(2) without waiting.
/// @return True if it reports something.
bool poll_now(pollfd& asked) noexcept {
  for (;;) {
    const int count = poll(&asked, 1, 0);
    if (count >= 0 || errno != EINTR) return count == 1;
  }
}

/// @return True if the other side has closed its end, or its sending direction. For a takeover the end of the socket is
/// a message. Therefore an error must not be taken for an end, and only poll(2) counts.
bool has_ended(int socket) noexcept {
  pollfd asked{socket, POLLRDHUP, 0};
  return poll_now(asked) && (asked.revents & (POLLRDHUP | POLLHUP)) != 0;
}

static_assert(sizeof(Head) == Channel::kHead);

using ControlBuffer = std::array<std::byte, CMSG_SPACE(Channel::kMostFds * sizeof(int))>;

}  // namespace

void Channel::put(FrameType type, std::span<const std::byte> bytes) {
  if (muted_) return;
  const Head head{type, static_cast<std::uint32_t>(bytes.size())};
  const auto head_bytes = std::as_bytes(std::span{&head, 1});
  bytes_out_.insert(bytes_out_.end(), head_bytes.begin(), head_bytes.end());
  bytes_out_.insert(bytes_out_.end(), bytes.begin(), bytes.end());
}

void Channel::drop_queued() noexcept {
  std::size_t end = 0;  // the end of the frames that were sent in full or in part
  while (end < sent_) {
    Head head{};
    std::memcpy(&head, bytes_out_.data() + end, sizeof head);
    end += sizeof head + head.length;
  }
  bytes_out_.resize(end);  // never grows, so it does not throw
  if (sent_ == 0) fds_out_.clear();
}

void Channel::mute() noexcept {
  bytes_out_.clear();
  fds_out_.clear();
  sent_ = 0;
  muted_ = true;
}

bool Channel::send() {
  while (sent_ < bytes_out_.size()) {
    iovec piece{bytes_out_.data() + sent_, bytes_out_.size() - sent_};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) ControlBuffer control{};
    if (!fds_out_.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(fds_out_.size() * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds_out_.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds_out_.data(), fds_out_.size() * sizeof(int));
    }
    const ssize_t count = sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && would_block(errno)) return true;
    if (count < 0 && (errno == ETOOMANYREFS || is_passing(errno))) return false;
    if (count < 0) throw_error(errno, "write to the other process");
    fds_out_.clear();
    sent_ += static_cast<std::size_t>(count);
  }
  bytes_out_.clear();
  sent_ = 0;
  return true;
}

bool Channel::read() {
  bytes_in_.erase(bytes_in_.begin(), bytes_in_.begin() + static_cast<std::ptrdiff_t>(begin_));
  begin_ = 0;
  // The caller has taken every complete frame with its descriptors. The descriptors that are left belong to incomplete
  // frames, and came in one message.
  if (fds_in_.size() > kMostFds) throw_error(EPROTO, "the other process sends descriptors without records");
  for (;;) {
    const std::size_t had = bytes_in_.size();
    if (had >= 2 * kLongest || fds_in_.size() > kMostFds) return true;  // the caller must take frames first
    bytes_in_.resize(had + kLongest);
    iovec piece{bytes_in_.data() + had, kLongest};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) ControlBuffer control;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = recvmsg(fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const int error = errno;
    bytes_in_.resize(had + (count > 0 ? static_cast<std::size_t>(count) : 0));
    if (count < 0 && would_block(error)) return true;
    // The end comes after everything that was sent. The kernel reports it as a reset if the other side has closed its
    // end without having read everything.
    if ((count == 0 || (count < 0 && error == ECONNRESET)) && has_ended(fd())) return false;
    if (count == 0) throw_error(ECONNRESET, "read from the other process");
    if (count < 0) throw_error(error, "read from the other process");
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < fds; ++i) {
        int received = -1;
        std::memcpy(&received, CMSG_DATA(header) + i * sizeof(int), sizeof received);
        fds_in_.emplace_back(received);
      }
    }
    if (message.msg_flags & MSG_CTRUNC)
      throw_error(EMFILE, "receive descriptors from the other process: raise the limit of open files (ulimit -n)");
  }
}

std::size_t Channel::untaken() const noexcept {
  int unread = 0;
  if (ioctl(fd(), FIONREAD, &unread) < 0) unread = 1;  // the number is not known, so there may be bytes
  return bytes_in_.size() - begin_ + static_cast<std::size_t>(unread);
}

bool Channel::peer_closed() const noexcept {
  pollfd asked{fd(), 0, 0};
  return poll_now(asked) && (asked.revents & POLLHUP) != 0;
}

bool Channel::hear_no_more() noexcept {
  return shutdown(fd(), SHUT_RD) == 0;
}

bool Channel::next(Frame& frame) {
  const std::size_t there = bytes_in_.size() - begin_;
  Head head{};
  if (there < sizeof head) return false;
  std::memcpy(&head, bytes_in_.data() + begin_, sizeof head);
  if (head.type < FrameType::hello || head.type > FrameType::give_up) {
    throw_error(EPROTO, "the other process speaks of something else than a takeover");
  }
  if (head.length > kLongest) {
    throw_error(EPROTO, "the other process sends a record of " + std::to_string(head.length) +
                            " bytes, where at most " + std::to_string(kLongest) + " are allowed");
  }
  if (there < sizeof head + head.length) return false;
  frame = {head.type, {bytes_in_.data() + begin_ + sizeof head, head.length}};
  begin_ += sizeof head + head.length;
  return true;
}

Descriptor Channel::take_fd() {
  if (fds_in_.empty()) throw_error(EPROTO, "the other process sends a record without its descriptor");
  Descriptor fd = std::move(fds_in_.front());
  fds_in_.pop_front();
  return fd;
}

bool is_passing(int error) noexcept {
  return error == ENOMEM || error == ENOBUFS || error == EINTR || would_block(error);
}

void check_same_user(int socket, const char* what) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) throw_error(errno, what);
  if (peer.uid == static_cast<uid_t>(-1))
    throw_error(ENOTCONN, std::string(what) + ": it must be a connected UNIX socket");
  if (get_option(socket, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
    throw_error(EPROTOTYPE, std::string(what) + ": it must be a stream socket");
  if (peer.uid != geteuid()) {
    throw_error(EPERM, std::string(what) + ": the process at the other end runs as another user (" +
                           std::to_string(peer.uid) + ")");
  }
}

}  // namespace onloop::detail
