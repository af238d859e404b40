#include "raw_takeover_channel.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace onloop::test {
namespace {

constexpr std::size_t kMostFds = 250;
constexpr std::size_t kHead = 8;  // bytes

std::uint32_t word(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

std::string frame(std::uint32_t type, std::string_view bytes) {
  const auto length = static_cast<std::uint32_t>(bytes.size());
  std::string out(kHead, '\0');
  std::memcpy(out.data(), &type, sizeof type);
  std::memcpy(out.data() + sizeof type, &length, sizeof length);
  out += bytes;
  return out;
}

RawTakeoverChannel::RawTakeoverChannel(Fd socket) : socket_(std::move(socket)) {}

void RawTakeoverChannel::read(std::size_t at_most) {
  std::vector<char> buffer(64 * 1024);
  while (!ended_ && at_most > 0) {
    iovec piece{buffer.data(), std::min(at_most, buffer.size())};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 253)> control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t count = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
      ended_ = true;
      return;
    }
    bytes_.append(buffer.data(), static_cast<std::size_t>(count));
    at_most -= static_cast<std::size_t>(count);
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
      const std::size_t fds = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < fds; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        fds_.emplace_back(fd);
      }
    }
  }
}

std::vector<int> RawTakeoverChannel::fds() const {
  std::vector<int> fds;
  for (const Fd& fd : fds_) fds.push_back(fd.get());
  return fds;
}

bool RawTakeoverChannel::has(Frame type) const {
  for (std::size_t at = 0; at + kHead <= bytes_.size(); at += kHead + word(bytes_, at + 4)) {
    if (word(bytes_, at) == static_cast<std::uint32_t>(type)) return at + kHead + word(bytes_, at + 4) <= bytes_.size();
  }
  return false;
}

std::string RawTakeoverChannel::acknowledgement() const {
  for (std::size_t at = 0; at + kHead <= bytes_.size(); at += kHead + word(bytes_, at + 4)) {
    if (word(bytes_, at) == static_cast<std::uint32_t>(Frame::end)) {
      return frame(Frame::acknowledge, std::string_view(bytes_).substr(at + kHead, word(bytes_, at + 4)));
    }
  }
  return frame(Frame::acknowledge);
}

bool RawTakeoverChannel::send(std::string_view bytes, std::vector<int> fds) const {
  do {
    const std::size_t with = std::min(fds.size(), kMostFds);
    const bool last = with == fds.size();
    const std::size_t size = last ? bytes.size() : std::min<std::size_t>(bytes.size(), 1);
    iovec piece{const_cast<char*>(bytes.data()), size};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostFds)> control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (with > 0) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(with * sizeof(int));
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(with * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), with * sizeof(int));
    }
    const ssize_t count = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0) return false;
    fds.erase(fds.begin(), fds.begin() + static_cast<std::ptrdiff_t>(with));
    bytes.remove_prefix(static_cast<std::size_t>(count));
  } while (!bytes.empty());
  return fds.empty();
}

void RawTakeoverChannel::finish() const {
  ::shutdown(socket_.get(), SHUT_WR);
}

void RawTakeoverChannel::hear_no_more() const {
  ::shutdown(socket_.get(), SHUT_RD);
}

void RawTakeoverChannel::close() {
  socket_.reset();
  fds_.clear();
}

}  // namespace onloop::test
