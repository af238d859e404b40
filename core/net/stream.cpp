#include "core/net/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

constexpr int kReadsPerTurn = 16;       // of one connection, so that a fast sender does not starve the others
constexpr std::uint8_t kVainWakes = 8;  // after this number of wake-ups without a result, the reason is looked for

/// Makes close(2) send a reset instead of a FIN.
void reset_on_close(int fd) noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

static_assert(sizeof(Stream) <= 152, "an idle connection has grown");

Stream::Stream(Protocol& protocol, Held<Origin> origin) noexcept
    : Source(origin->net.runtime()), Endpoint(Kind::stream), origin_(std::move(origin)) {
  net().add(*this);
  set_protocol(&protocol);
  if (origin_->acceptor) origin_->acceptor->connection_came();
}

Stream::~Stream() = default;

// ---- the beginning ----

void Stream::accepted(int fd) {
  start_idle_clock(positive(limits().idle_timeout));
  runtime()->sources().watch(*this, fd, ONLOOP_READ, "watch an accepted connection");
  phase_ = Phase::open;
  note_plain();
}

void Stream::opened() {
  protocol()->on_open(*this);
}

void Stream::adopted(int fd, const std::string& what) {
  start_idle_clock(positive(limits().idle_timeout));
  runtime()->sources().watch(*this, fd, ONLOOP_NONE, what);
  runtime()->defer(*this);
}

// ---- readiness ----

void Stream::on_ready(std::uint32_t readiness) {
  if (readiness != ONLOOP_READ && !on_writable(readiness)) return;
  Net& net = this->net();  // asked first: after a callback the connection may have left its Net
  std::byte* const buffer = net.spare_buffer.release();
  if (!buffer) {
    read_in_nested_frame(net);
    return;
  }
  const AtScopeExit give_back([&net, buffer] { net.spare_buffer.give_back(buffer); });
  read_into(net, buffer);
}

/// Reads while an outer frame uses the read buffer of the context, or while there is no read buffer yet. A span must
/// stay valid until its on_data returns. Therefore this frame reads into a buffer of its own. The first such buffer
/// becomes the read buffer of the context.
void Stream::read_in_nested_frame(Net& net) {
  std::unique_ptr<std::byte[]> own(new std::byte[net.buffer_size]);  // not initialised: most of it is never touched
  const bool first = net.spare_buffer.is_to_be_made();
  const AtScopeExit keep([&] {
    if (first) net.spare_buffer.give_back(own.release());
  });
  read_into(net, own.get());
}

/// Reads once. Most messages take the short path here: the connection is plain (plain_) and the read does not fill the
/// buffer, so there is nothing more to read.
inline void Stream::read_into(Net& net, std::byte* buffer) {
  const ssize_t got = ::recv(fd(), buffer, net.buffer_size, MSG_DONTWAIT);
  // One comparison finds a short read. An end of file (0) and an error (-1), reduced by one and as unsigned numbers,
  // are larger than every buffer size.
  if (static_cast<std::size_t>(got) - 1 < net.buffer_size - 1 && plain_) [[likely]] {
    net.statistics.bytes_received += static_cast<std::size_t>(got);
    protocol()->on_data(*this, {buffer, static_cast<std::size_t>(got)});
  } else {
    read_on(net, buffer, got);
  }
}

/// Serves the readiness that comes before reading: finishes connecting, or flushes the queue.
/// @return False if there is nothing to read.
bool Stream::on_writable(std::uint32_t readiness) {
  if (phase_ == Phase::connecting) {
    finish_connect();
    return false;
  }
  const std::size_t before = queued();
  flush();
  if (before > 0 && queued() == before) woken_in_vain();
  return readiness & wanted() & ONLOOP_READ;
}

/// Delivers the result of a first read, and reads again as long as reads fill the buffer, up to the limits of the turn.
/// Each callback may pause, close or sever this connection.
void Stream::read_on(const Net& net, std::byte* buffer, ssize_t got) {
  for (int left = kReadsPerTurn - 1;; --left) {
    if (got == 0 || (got < 0 && errno != EINTR)) {
      const int error = got == 0 ? 0 : errno;
      if (left == kReadsPerTurn - 1 && would_block(error)) woken_in_vain();
      read_stopped(error);
      return;
    }
    if (got > 0) received(buffer, got);
    if (got > 0 && static_cast<std::size_t>(got) < net.buffer_size) return;
    if (left == 0 || !(wanted() & ONLOOP_READ) || runtime()->turn_is_over() || runtime()->budget_is_spent()) return;
    got = ::recv(fd(), buffer, net.buffer_size, MSG_DONTWAIT);
  }
}

void Stream::received(std::byte* buffer, ssize_t got) {
  if (phase_ != Phase::open) return;  // close() was called: the bytes are discarded
  net().statistics.bytes_received += static_cast<std::size_t>(got);
  note_activity();
  protocol()->on_data(*this, {buffer, static_cast<std::size_t>(got)});
}

/// Reading has stopped.
/// @param error 0 at the peer's end. Otherwise an errno value, also EAGAIN if there is nothing to read.
void Stream::read_stopped(int error) {
  if (write_failed_) {
    // The write has failed after a reset, and has taken the error of the reset. After EPIPE a read of zero is the
    // peer's end, because the FIN had come before the reset. After ECONNRESET no FIN had come, and zero is not an end.
    if (error == 0 && phase_ == Phase::open && error_ == EPIPE) {
      read_ended_ = true;
      protocol()->on_end(*this);
    }
    if (runtime()) shut(close_error());
    return;
  }
  if (error != 0) {
    if (!would_block(error)) shut(error_of(error));
    return;
  }
  read_ended_ = true;
  apply();
  if (phase_ == Phase::open) protocol()->on_end(*this);
  if (runtime()) close_if_both_ended();
}

void Stream::on_deferred() {
  if (phase_ == Phase::closed) {
    phase_ = Phase::over;
    const AtScopeExit leave_at_end([this] {
      if (runtime()) leave();
    });
    protocol()->on_close(*this, close_error());
    return;
  }
  if (phase_ == Phase::opening) {
    phase_ = Phase::open;
    apply();
    if (drain_due_) runtime()->defer(*this);
    opened();
    if (early_) deliver_early();
    return;
  }
  if (early_) deliver_early();
  if (phase_ != Phase::open || frozen() || !std::exchange(drain_due_, false)) return;
  if (queued() > limits().low_water) {
    waiting_ = true;  // a callback has written more meanwhile: on_drain comes when these bytes are sent, too
  } else {
    protocol()->on_drain(*this);
  }
}

void Stream::read_already(EarlyInput::node_type&& bytes) noexcept {
  bytes.key() = this;
  net().early.insert(std::move(bytes));
  early_ = true;
}

/// Delivers the bytes that were read before the socket was adopted, in pieces that are no larger than the read buffer.
/// It stops if reading is paused. Each callback may pause, close or sever this connection.
void Stream::deliver_early() {
  const auto may_go_on = [this] {
    return early_ && runtime() && !runtime()->turn_is_over() && phase_ == Phase::open && wants_to_read();
  };
  if (!may_go_on()) return;
  auto bytes = net().early.extract(this);
  const AtScopeExit keep_rest([&] {
    if (!early_ || !runtime()) return;
    net().early.insert(std::move(bytes));
    apply();  // in a later turn, unless reading is paused
  });
  do {
    std::span<const std::byte>& left = bytes.mapped().left;
    const std::span<const std::byte> piece = left.first(std::min(left.size(), net().buffer_size));
    left = left.subspan(piece.size());
    early_ = !left.empty();
    if (!early_) apply();
    protocol()->on_data(*this, piece);
  } while (may_go_on() && !runtime()->budget_is_spent());
}

// ---- closing ----

void Stream::end_writing() {
  if (write_ended_ || phase_ >= Phase::closing) return;
  if (postpone(Wish::end_writing)) return;
  write_ended_ = true;
  if (phase_ != Phase::connecting) flush();
}

void Stream::end() {
  if (phase_ >= Phase::closing) return;
  if (postpone(Wish::end)) return;
  if (phase_ == Phase::connecting) {
    shut(error_of(ECANCELED));
    return;
  }
  if (write_failed_) {
    shut(close_error());
    return;
  }
  if (limits().linger.count() <= 0) {
    reset({});
    return;
  }
  start_clock(positive(limits().linger));  // first, since it may throw
  phase_ = Phase::closing;
  write_ended_ = true;
  flush();
}

void Stream::reset(std::error_code error) noexcept {
  if (phase_ >= Phase::closed) return;
  if (postpone(Wish::reset)) {
    transit_->reset_with = error;
    return;
  }
  reset_socket();
  shut(error);
}

/// Makes the peer get a reset instead of a FIN. Usually close(2) sends the reset. If another process may have a copy
/// of the descriptor, close(2) sends nothing. Then connect(2) to AF_UNSPEC sends the reset at once.
void Stream::reset_socket() noexcept {
  if (fd() < 0) return;
  constexpr sockaddr kNobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (!copied() || ::connect(fd(), &kNobody, sizeof kNobody) < 0) reset_on_close(fd());
}

void Stream::close_if_both_ended() noexcept {
  if (read_ended_ && fin_sent_) shut({});
}

void Stream::shut(std::error_code error) noexcept {
  if (phase_ >= Phase::closed) return;
  if (queue_) reset_socket();  // bytes are lost: the peer must not take the close for an orderly end
  // While another process has a copy of the descriptor, close(2) does not end the connection, but shutdown(2) does.
  if (copied() && fd() >= 0) ::shutdown(fd(), SHUT_RDWR);
  stop_clock();
  remember_peer();
  release_socket();
  queue_.reset();
  plain_ = false;
  phase_ = Phase::closed;
  set_error(error);
  runtime()->defer(*this);
}

void Stream::release_socket() noexcept {
  Descriptor socket(fd());
  runtime()->sources().unwatch(*this);
}

bool Stream::lose_number() noexcept {
  runtime()->sources().unwatch(*this);  // the number belongs to another file now: it must not be closed
  shut(error_of(EBADF));
  return true;
}

void Stream::sever() noexcept {
  if (!runtime()) return;
  runtime()->check_thread_or_die();
  stop_clock();
  release_socket();
  queue_.reset();
  plain_ = false;
  phase_ = Phase::over;
  leave();
}

/// Takes the connection out of its protocol, its listener and its context. The object is deleted here, or as soon as no
/// frame and no Ref uses it any more.
void Stream::leave() noexcept {
  set_protocol(nullptr);
  net().remove(*this);
  if (origin_->acceptor) origin_->acceptor->connection_left();
  origin_ = nullptr;
  cut_off();
  drop();
}

/// Keeps the reason for on_close. error_ keeps an errno value. An Extra keeps an error of another category. If there is
/// no memory for the Extra, the reason becomes ENOMEM.
void Stream::set_error(std::error_code error) noexcept {
  error_ = error.value();
  if (extra_) extra_->error.clear();
  if (error_ == 0 || error.category() == error_of(error_).category()) return;
  error_ = ENOMEM;
  try {
    if (!extra_) extra_ = std::make_unique<Extra>(*this);
    extra_->error = error;
  } catch (const std::bad_alloc&) {
  }
}

std::error_code Stream::close_error() const noexcept {
  if (extra_ && extra_->error) return extra_->error;
  return error_ ? error_of(error_) : std::error_code{};
}

// ---- settings ----

void Stream::pause(bool paused) {
  if (paused_ == paused) return;
  paused_ = paused;
  if (write_failed_ && paused && !has_input(fd())) {  // nothing is left to read, and nothing can be written
    shut(close_error());
  } else {
    apply();
  }
}

void Stream::note_plain() noexcept {
  plain_ = phase_ == Phase::open && !frozen() && !early_ && !queue_ && !write_ended_ && corks_ == 0 && !extra_;
}

/// @return True if an open connection reads now. The answer is for Phase::open only.
bool Stream::wants_to_read() const noexcept {
  return !read_ended_ && !paused_ && !frozen() && !(full_ && limits().pause_reading_when_full);
}

std::uint32_t Stream::interest() const noexcept {
  if (frozen()) return ONLOOP_NONE;
  const std::uint32_t write = queue_ && corks_ == 0 ? ONLOOP_WRITE : ONLOOP_NONE;
  switch (phase_) {
    case Phase::connecting:
      return ONLOOP_WRITE;
    case Phase::opening:
      return write;
    case Phase::open:
      return write | (wants_to_read() && !early_ ? ONLOOP_READ : ONLOOP_NONE);
    case Phase::closing:
      return (queue_ ? ONLOOP_WRITE : ONLOOP_NONE) | (read_ended_ ? ONLOOP_NONE : ONLOOP_READ);
    default:
      return ONLOOP_NONE;
  }
}

void Stream::apply() noexcept {
  note_plain();
  if (fd() < 0) return;
  if (early_ && phase_ == Phase::open && wants_to_read()) runtime()->defer(*this);
  if (const std::error_code error = runtime()->sources().want(*this, interest())) shut(error);
}

Connection::State* Stream::find_state(const std::type_info& type) const noexcept {
  return state_ && state_->type() == type ? state_.get() : nullptr;
}

// ---- the clock: connecting, idle, linger ----

void Stream::start_clock(std::uint64_t limit_ns) {
  if (!extra_) extra_ = std::make_unique<Extra>(*this);
  plain_ = false;
  look_at_kernel();
  extra_->last_activity = now_ns();
  runtime()->schedule(*extra_, extra_->last_activity + limit_ns);
}

void Stream::stop_clock() noexcept {
  if (!extra_) return;
  runtime()->cancel(*extra_);
  extra_.reset();
  note_plain();
}

void Stream::start_idle_clock(std::uint64_t idle_ns) {
  if (idle_ns == 0) return;
  start_clock(idle_ns);
  extra_->idle_ns = idle_ns;
}

void Stream::set_idle(std::chrono::nanoseconds timeout) {
  const std::uint64_t idle_ns = positive(timeout);
  if (write_failed_) return;  // the clock limits how long the rest of the input is read
  if (phase_ == Phase::connecting) {
    extra_->idle_ns = idle_ns;
  } else if (frozen() && phase_ < Phase::closing) {  // thaw() starts the clock
    if (!extra_) extra_ = std::make_unique<Extra>(*this);
    extra_->idle_ns = idle_ns;
    extra_->last_activity = now_ns();
    transit_->frozen_at = extra_->last_activity;
  } else if (phase_ < Phase::closing) {
    stop_clock();
    start_idle_clock(idle_ns);
  }
}

void Stream::note_time() noexcept {
  extra_->last_activity = now_ns();
}

/// @return How many nanoseconds after the last activity the connection ends. 0 means that it ends when the timer fires.
std::uint64_t Stream::clock_limit() const noexcept {
  if (phase_ == Phase::closing) return positive(limits().linger);
  return phase_ == Phase::connecting ? 0 : extra_->idle_ns;
}

/// Looks whether the peer has taken bytes since the last look_at_kernel(). If so, this counts as activity. Writability
/// does not tell: a socket with a large buffer becomes writable only now and then while a slow client reads steadily.
/// @return True if the peer has taken bytes less than `limit` ns ago, so that the connection goes on.
bool Stream::peer_took_bytes(std::uint64_t limit) noexcept {
  const std::uint64_t most = extra_->left + extra_->sent;
  look_at_kernel();
  if (extra_->left >= most) return false;
  const std::uint64_t now = now_ns();
  const std::uint64_t ago = extra_->left == 0 ? since_acknowledgement(fd()) : 0;
  if (ago >= limit) return false;
  extra_->last_activity = std::max(extra_->last_activity, now - ago);
  return extra_->last_activity + limit > now;
}

void Stream::look_at_kernel() noexcept {
  extra_->left = in_kernel_queue(fd());
  extra_->sent = 0;
}

std::uint64_t Stream::untaken() const noexcept {
  return queued() + in_kernel_queue(fd());
}

// ---- wake-ups without a result ----

/// The connection was woken, but could neither read nor write. A socket whose error queue is not empty is always ready,
/// and no read or write changes this. Therefore, after kVainWakes such wake-ups, the reports in the error queue (of
/// zero-copy, timestamps, ICMP) are dropped. An application that wants the reports must take them before. If there is
/// no report, the connection closes with the pending error of the socket, or with EIO.
void Stream::woken_in_vain() noexcept {
  if (++vain_wakes_ < kVainWakes) return;
  vain_wakes_ = 0;
  const int asked = (wanted() & ONLOOP_READ ? POLLIN : 0) | (wanted() & ONLOOP_WRITE ? POLLOUT : 0);
  pollfd state{.fd = fd(), .events = static_cast<short>(asked), .revents = 0};
  if (::poll(&state, 1, 0) != 1 || (state.revents & asked)) return;
  if (const int error = get_option(fd(), SOL_SOCKET, SO_ERROR); error > 0) {
    shut(error_of(error));
  } else if (!drop_reports()) {
    shut(error_of(EIO));
  }
}

/// @return False if the error queue was empty.
bool Stream::drop_reports() noexcept {
  constexpr int kMost = 1024;  // reports at a time
  msghdr report{};
  int dropped = 0;
  while (dropped < kMost && ::recvmsg(fd(), &report, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) ++dropped;
  return dropped > 0;
}

void Stream::remember_peer() noexcept try {
  if (fd() < 0 || phase_ == Phase::connecting) return;
  Address peer = peer_address(fd());
  if (peer.family() == Address::Family::none) return;
  extra_ = std::make_unique<Extra>(*this);
  extra_->peer = std::move(peer);
} catch (const std::exception&) {
  // Then peer() does not know the address while on_close runs.
}

Address Stream::peer() const {
  return fd() < 0 && extra_ ? extra_->peer : peer_address(fd());
}

/// The timer has fired. Traffic does not move the timer, but only notes its time. If the limit has not passed since the
/// last activity, the timer is set again for the rest.
void Stream::on_due() {
  const std::uint64_t limit = clock_limit();
  const std::uint64_t end = extra_->last_activity + limit;
  if (limit > 0 && end > now_ns()) {
    runtime()->schedule(*extra_, end);
  } else if (write_failed_) {
    shut(close_error());
  } else if (limit > 0 && peer_took_bytes(limit)) {
    runtime()->schedule(*extra_, extra_->last_activity + limit);
  } else if (phase_ == Phase::connecting && !extra_->candidates.empty()) {
    try_next(ETIMEDOUT);
  } else {
    shut(phase_ == Phase::closing && fin_sent_ ? std::error_code{} : error_of(ETIMEDOUT));
  }
}

}  // namespace onloop::detail
