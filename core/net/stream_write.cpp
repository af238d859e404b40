// How a Stream writes: it sends at once what the kernel takes, and queues the rest.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

bool Stream::refuses_write() noexcept {
  if (write_ended_ || phase_ >= Phase::closing) return true;
  if (!frozen()) return false;
  transit_->write_refused = true;
  return true;
}

Flow Stream::send_later(std::span<const std::byte> data, std::vector<std::byte>* given) {
  if (runtime()) runtime()->check_thread();
  if (refuses_write()) return Flow::closed;
  if (queue_ || corks_ || phase_ == Phase::connecting) return queue(data, given);
  return send_rest(data, ::send(fd(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL), given);
}

Flow Stream::send_rest(std::span<const std::byte> data, ssize_t sent, std::vector<std::byte>* given) {
  if (sent < 0 && !would_block(errno) && errno != EINTR) {
    fail_writing(error_of(errno));
    return Flow::closed;
  }
  const std::size_t taken = sent > 0 ? static_cast<std::size_t>(sent) : 0;
  net().statistics.bytes_sent += taken;
  note_sent(taken);
  try {
    return queue(data.subspan(taken), given);
  } catch (const std::bad_alloc&) {  // a part is sent and the rest can't be kept, so the stream must end here
    reset(error_of(ENOMEM));
    return Flow::closed;
  }
}

/// Queues `data`. Bytes that exceed Limits::max_queued are never copied: the connection is reset with ENOBUFS. A cork
/// holds back bytes that the kernel might have taken. Therefore such bytes are sent in spite of the cork before the
/// connection is reset.
Flow Stream::queue(std::span<const std::byte> data, std::vector<std::byte>* given) {
  if (data.size() > limits().max_queued - std::min(queued(), limits().max_queued)) {
    if (corks_ && phase_ == Phase::open) data = send_beside_cork(data);
    if (phase_ < Phase::closing && queued() + data.size() > limits().max_queued) reset(error_of(ENOBUFS));
    if (phase_ >= Phase::closing || write_failed_) return Flow::closed;
  }
  if (!data.empty()) {
    if (!queue_) queue_ = std::make_unique<WriteQueue>();
    if (given) {
      queue_->append(std::move(*given), given->size() - data.size());
    } else {
      queue_->append(data);
    }
  }
  if (corks_ && queued() >= limits().high_water && phase_ != Phase::connecting) flush();
  if (phase_ >= Phase::closing || write_failed_) return Flow::closed;
  if (queued() > limits().high_water) full_ = waiting_ = true;
  apply();
  return waiting_ ? Flow::wait : Flow::go;
}

Flow Stream::send(std::vector<std::byte>&& data) {
  return send_later(data, &data);
}

Flow Stream::send(std::span<const std::span<const std::byte>> pieces) {
  if (runtime()) runtime()->check_thread();
  if (refuses_write()) return Flow::closed;
  ssize_t sent = 0;
  if (!queue_ && !corks_ && phase_ != Phase::connecting) {
    sent = send_pieces(pieces);
    if (sent < 0) {
      fail_writing(error_of(errno));
      return Flow::closed;
    }
    net().statistics.bytes_sent += static_cast<std::size_t>(sent);
    note_sent(static_cast<std::size_t>(sent));
  }
  return queue_pieces(pieces, static_cast<std::size_t>(sent));
}

/// Sends the pieces with one system call.
/// @return The number of bytes that the kernel took, or -1 (errno is set) if the connection can't be written any more.
ssize_t Stream::send_pieces(std::span<const std::span<const std::byte>> pieces) const noexcept {
  std::array<iovec, IOV_MAX> vectors;  // not initialised: usually few are used
  const std::size_t count = std::min(pieces.size(), vectors.size());
  for (std::size_t i = 0; i < count; ++i) {
    vectors[i] = {.iov_base = const_cast<std::byte*>(pieces[i].data()), .iov_len = pieces[i].size()};
  }
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = count;
  const ssize_t sent = ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent < 0 && (would_block(errno) || errno == EINTR) ? 0 : sent;
}

/// Queues the pieces without their first `skip` bytes, which are sent already.
Flow Stream::queue_pieces(std::span<const std::span<const std::byte>> pieces, std::size_t skip) {
  bool begun = skip > 0;
  for (const std::span<const std::byte> piece : pieces) {
    const std::size_t gone = std::min(skip, piece.size());
    skip -= gone;
    if (gone == piece.size()) continue;
    try {
      if (queue(piece.subspan(gone)) == Flow::closed) return Flow::closed;
    } catch (const std::bad_alloc&) {
      if (!begun) throw;
      reset(error_of(ENOMEM));  // a part is sent or queued and the rest can't be kept, so the stream must end here
      return Flow::closed;
    }
    begun = true;
  }
  return waiting_ ? Flow::wait : Flow::go;
}

/// Sends the queue in spite of a cork, and then as much of `data` as the kernel takes.
/// @return The rest of `data`.
std::span<const std::byte> Stream::send_beside_cork(std::span<const std::byte> data) noexcept {
  flush();
  if (queue_ || phase_ != Phase::open || write_failed_) return data;
  const ssize_t sent = ::send(fd(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && !would_block(errno) && errno != EINTR) fail_writing(error_of(errno));
  if (sent <= 0) return data;
  net().statistics.bytes_sent += static_cast<std::size_t>(sent);
  note_sent(static_cast<std::size_t>(sent));
  return data.subspan(static_cast<std::size_t>(sent));
}

/// A write has failed with `error`. If the peer has ended the connection and input may be left, the bytes that the peer
/// had sent before are still read and delivered. They may say why it has ended. Then the connection closes with the
/// error of the write. This must happen within the linger time, or within one second if the linger time is shorter. In
/// every other case the connection closes at once.
void Stream::fail_writing(std::error_code error) noexcept {
  constexpr std::chrono::nanoseconds kLeast = std::chrono::seconds{1};
  const bool gone = error == std::errc::broken_pipe || error == std::errc::connection_reset;
  const bool readable = (phase_ == Phase::open || phase_ == Phase::opening) && !read_ended_;
  if (!gone || !readable || (paused_ && !has_input(fd()))) return shut(error);
  const std::uint64_t limit = positive(std::max(limits().linger, kLeast));
  try {
    start_clock(limit);
  } catch (const std::exception&) {
    return shut(error);
  }
  extra_->idle_ns = limit;
  write_failed_ = write_ended_ = true;
  drain_due_ = paused_ && (waiting_ || drain_due_);  // a protocol that paused reading until on_drain reads on then
  if (drain_due_) runtime()->defer(*this);
  waiting_ = full_ = false;
  set_error(error);
  queue_.reset();
  net().drained(*this);
  apply();
}

void Stream::flush() noexcept {
  while (queue_) {
    std::array<iovec, 16> pieces;
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = queue_->front(pieces);
    const ssize_t sent = ::sendmsg(fd(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && would_block(errno)) break;
    if (sent < 0) {
      fail_writing(error_of(errno));
      return;
    }
    net().statistics.bytes_sent += static_cast<std::size_t>(sent);
    note_sent(static_cast<std::size_t>(sent));
    queue_->consume(static_cast<std::size_t>(sent));
    if (queue_->empty()) queue_.reset();
  }
  if (queued() <= limits().low_water) {
    full_ = false;
    net().drained(*this);
    if (std::exchange(waiting_, false)) {
      drain_due_ = true;
      runtime()->defer(*this);
    }
  }
  if (!queue_ && write_ended_) send_fin();
  apply();
}

void Stream::cork() noexcept {
  ++corks_;
  plain_ = false;
}

void Stream::uncork() noexcept {
  if (--corks_ == 0 && !frozen() && (phase_ == Phase::open || phase_ == Phase::opening)) flush();
}

void Stream::when_drained(Task task) {
  if (queued() > limits().low_water && phase_ != Phase::over) {
    net().when_drained(*this, std::move(task));
  } else {
    runtime()->post(std::move(task));
  }
}

void Stream::send_fin() noexcept {
  if (std::exchange(fin_sent_, true)) return;
  ::shutdown(fd(), SHUT_WR);
  if (phase_ == Phase::closing && extra_) extra_->last_activity = now_ns();  // the linger time counts from here
  close_if_both_ended();
}

// ---- the path of every write; it is in this file so that the compiler can inline all of it ----

inline Flow Stream::send(std::span<const std::byte> data) {
  if (!plain_) return send_later(data);
  runtime()->check_thread();
  const ssize_t sent = ::send(fd(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(data.size())) return send_rest(data, sent);
  net().statistics.bytes_sent += data.size();
  return Flow::go;
}

}  // namespace onloop::detail

namespace onloop {

Flow Connection::write(std::span<const std::byte> data) {
  return detail::stream_of(*this).send(data);
}

Flow Connection::write(std::vector<std::byte>&& data) {
  return detail::stream_of(*this).send(std::move(data));
}

Flow Connection::write(std::span<const std::span<const std::byte>> pieces) {
  return detail::stream_of(*this).send(pieces);
}

}  // namespace onloop
