#include "core/net/stream.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
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
constexpr std::uint8_t kVainWakes = 8;  // and then it is asked why

/// close(2) then sends a reset instead of a FIN.
void reset_on_close(int fd) noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

Stream::Stream(Net& net, Protocol& protocol, std::shared_ptr<const Limits> limits, Acceptor* acceptor) noexcept
    : Source(net.runtime()), net_(net), acceptor_(acceptor), limits_(std::move(limits)) {
  net_.add(*this);
  set_protocol(&protocol);
  if (acceptor_) acceptor_->connection_came();
}

Stream::~Stream() = default;

// ---- ways in ----

void Stream::accepted(int fd) {
  start_idle_clock(positive(limits_->idle_timeout));
  runtime()->watch(*this, fd, ONLOOP_READ, "watch an accepted connection");
  phase_ = Phase::open;
  note_plain();
}

void Stream::opened() {
  protocol()->on_open(*this);
}

void Stream::adopted(int fd, const std::string& what) {
  start_idle_clock(positive(limits_->idle_timeout));
  runtime()->watch(*this, fd, ONLOOP_NONE, what);
  runtime()->defer(*this);
}

// ---- readiness ----

/// The context's read buffer, for one frame. A nested frame finds it taken and gets one of its own, so that a span
/// stays valid for its whole call.
class Stream::ReadBuffer {
 public:
  explicit ReadBuffer(Stream& stream) : stream_(stream), bytes_(stream.net_.spare_buffer.release()) {
    if (!bytes_) bytes_ = new std::byte[size()];  // not initialised: most of it is never touched
  }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  ~ReadBuffer() {
    if (stream_.net_.spare_buffer) {
      delete[] bytes_;
    } else {
      stream_.net_.spare_buffer.reset(bytes_);
    }
  }
  [[nodiscard]] std::byte* data() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return stream_.net_.buffer_size; }

 private:
  Stream& stream_;
  std::byte* bytes_;
};

void Stream::on_ready(std::uint32_t readiness) {
  if (readiness != ONLOOP_READ && !on_writable(readiness)) return;
  const ReadBuffer buffer(*this);
  const ssize_t got = ::recv(fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (plain_ && got > 0) [[likely]] {
    net_.statistics.bytes_received += static_cast<std::size_t>(got);
    protocol()->on_data(*this, {buffer.data(), static_cast<std::size_t>(got)});
  } else if (got > 0) {
    received(buffer.data(), got);
  }
  // A short read means that there was no more.
  if (got <= 0 || static_cast<std::size_t>(got) == buffer.size()) read_on(buffer.data(), got);
}

/// What comes before reading; false if there is nothing to read.
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

/// After a read that was not short: goes on, up to a budget. Each callback may pause, close or sever this connection.
void Stream::read_on(std::byte* buffer, ssize_t got) {
  const std::size_t size = net_.buffer_size;
  for (int left = kReadsPerTurn - 1;; --left) {
    if (got == 0 || (got < 0 && errno != EINTR)) {
      const int error = got == 0 ? 0 : errno;
      if (left == kReadsPerTurn - 1 && would_block(error)) woken_in_vain();
      read_stopped(error);
      return;
    }
    if (got > 0 && static_cast<std::size_t>(got) < size) return;
    if (left == 0 || !(wanted() & ONLOOP_READ) || runtime()->turn_is_over() || runtime()->budget_is_spent()) return;
    got = ::recv(fd(), buffer, size, MSG_DONTWAIT);
    if (got > 0) received(buffer, got);
  }
}

void Stream::received(std::byte* buffer, ssize_t got) {
  if (phase_ != Phase::open) return;  // close() was called: discarded
  net_.statistics.bytes_received += static_cast<std::size_t>(got);
  note_activity();
  protocol()->on_data(*this, {buffer, static_cast<std::size_t>(got)});
}

/// The peer's end (0), an error, or nothing to read.
void Stream::read_stopped(int error) {
  if (write_failed_) {
    // EPIPE: a FIN had come before the reset, whose own error the write got. After ECONNRESET zero is no end.
    if (error == 0 && phase_ == Phase::open && error_ == std::errc::broken_pipe) {
      read_ended_ = true;
      protocol()->on_end(*this);
    }
    if (runtime()) shut(error_);
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
    struct Leave {
      Stream& stream;
      ~Leave() {
        if (stream.runtime()) stream.leave();
      }
    } const leave_at_end{*this};
    protocol()->on_close(*this, error_);
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
  if (phase_ != Phase::open || frozen_ || !std::exchange(drain_due_, false)) return;
  if (queued() > limits_->low_water) {
    waiting_ = true;  // a callback has written again meanwhile: on_drain comes when that is gone, too
  } else {
    protocol()->on_drain(*this);
  }
}

void Stream::read_already(EarlyInput::node_type&& bytes) noexcept {
  bytes.key() = this;
  net_.early.insert(std::move(bytes));
  early_ = true;
}

/// What was read before the socket was adopted, in pieces that are no larger than the read buffer, until reading is
/// paused. Each callback may pause, close or sever this connection.
void Stream::deliver_early() {
  const auto may_go_on = [this] {
    return early_ && runtime() && !runtime()->turn_is_over() && phase_ == Phase::open && wants_to_read();
  };
  if (!may_go_on()) return;
  auto bytes = net_.early.extract(this);
  const AtScopeExit keep_rest([&] {
    if (early_ && runtime()) net_.early.insert(std::move(bytes));
  });
  do {
    std::span<const std::byte>& left = bytes.mapped().left;
    const std::span<const std::byte> piece = left.first(std::min(left.size(), net_.buffer_size));
    left = left.subspan(piece.size());
    early_ = !left.empty();
    if (!early_) apply();
    protocol()->on_data(*this, piece);
  } while (may_go_on());
}

// ---- closing ----

void Stream::end_writing() {
  if (write_ended_ || phase_ >= Phase::closing) return;
  if (frozen_) {
    wish_ = std::max(wish_, Wish::end_writing);
    return;
  }
  write_ended_ = true;
  if (phase_ != Phase::connecting) flush();
}

void Stream::end() {
  if (phase_ >= Phase::closing) return;
  if (frozen_) {
    wish_ = std::max(wish_, Wish::end);
    return;
  }
  if (phase_ == Phase::connecting) {
    shut(error_of(ECANCELED));
    return;
  }
  if (write_failed_) {
    shut(error_);
    return;
  }
  if (limits_->linger.count() <= 0) {
    reset({});
    return;
  }
  phase_ = Phase::closing;
  write_ended_ = true;
  start_clock(positive(limits_->linger));
  flush();
}

void Stream::reset(std::error_code error) noexcept {
  if (phase_ >= Phase::closed) return;
  if (frozen_) {
    wish_ = Wish::reset;
    error_ = error;
    return;
  }
  reset_socket();
  shut(error);
}

/// The peer gets a reset instead of a FIN: from close(2), or at once where another process has a copy.
void Stream::reset_socket() noexcept {
  if (fd() < 0) return;
  constexpr sockaddr kNobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  if (!copied_ || ::connect(fd(), &kNobody, sizeof kNobody) < 0) reset_on_close(fd());
}

void Stream::close_if_both_ended() noexcept {
  if (read_ended_ && fin_sent_) shut({});
}

void Stream::shut(std::error_code error) noexcept {
  if (phase_ >= Phase::closed) return;
  if (queue_) reset_socket();  // bytes are lost: the peer must not take that for an orderly end
  if (copied_ && fd() >= 0) ::shutdown(fd(), SHUT_RDWR);  // closing ends nothing while another process has a copy
  stop_clock();
  remember_peer();
  release_socket();
  queue_.reset();
  plain_ = false;
  phase_ = Phase::closed;
  error_ = error;
  runtime()->defer(*this);
}

void Stream::release_socket() noexcept {
  UniqueFd socket(fd());
  runtime()->unwatch(*this);
}

bool Stream::lose_number() noexcept {
  runtime()->unwatch(*this);  // the number is another socket's: it must not be closed
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

/// The connection is no longer its context's; it is deleted here, or when the last frame or Ref lets go.
void Stream::leave() noexcept {
  set_protocol(nullptr);
  if (acceptor_) std::exchange(acceptor_, nullptr)->connection_left();
  net_.remove(*this);
  cut_off();
  drop();
}

void Stream::destroy_state() noexcept {
  if (void* state = std::exchange(state_, nullptr)) state_type_->destroy(state);
}

// ---- settings ----

void Stream::pause(bool paused) {
  if (paused_ == paused) return;
  paused_ = paused;
  if (write_failed_ && paused && !has_input(fd())) {  // nothing else is left to do
    shut(error_);
  } else {
    apply();
  }
}

void Stream::note_plain() noexcept {
  plain_ = phase_ == Phase::open && !frozen_ && !early_ && !queue_ && !write_ended_ && corks_ == 0 && !extra_;
}

/// In Phase::open.
bool Stream::wants_to_read() const noexcept {
  return !read_ended_ && !paused_ && !frozen_ && !(full_ && limits_->pause_reading_when_full);
}

std::uint32_t Stream::interest() const noexcept {
  if (frozen_) return ONLOOP_NONE;
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
  if (const std::error_code error = runtime()->want(*this, interest())) shut(error);
}

void Stream::set_state(void* state, const StateType& type) noexcept {
  destroy_state();
  state_ = state;
  state_type_ = &type;
}

void* Stream::find_state(const std::type_info& type) const noexcept {
  return state_ && state_type_->type == type ? state_ : nullptr;
}

void* Stream::get_state(const std::type_info& type) {
  if (void* state = find_state(type)) return state;
  throw std::bad_cast();
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
  if (write_failed_) return;  // its clock bounds what is left
  if (phase_ == Phase::connecting) {
    extra_->idle_ns = idle_ns;
  } else if (frozen_ && phase_ < Phase::closing) {  // thaw() starts it
    if (!extra_) extra_ = std::make_unique<Extra>(*this);
    extra_->idle_ns = idle_ns;
    extra_->last_activity = extra_->frozen_at = now_ns();
  } else if (phase_ < Phase::closing) {
    stop_clock();
    start_idle_clock(idle_ns);
  }
}

void Stream::note_time() noexcept {
  extra_->last_activity = now_ns();
}

/// How long after the last activity it ends; 0: when it is due.
std::uint64_t Stream::clock_limit() const noexcept {
  if (phase_ == Phase::closing) return positive(limits_->linger);
  return phase_ == Phase::connecting ? 0 : extra_->idle_ns;
}

/// Whether the peer has taken bytes since the clock last looked, and so recently that it goes on: then it does. A
/// kernel with a large buffer becomes writable only now and then while a slow client reads steadily.
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

// ---- readiness without anything to be had ----

/// A socket with something in its error queue is ready for ever, and no read or write clears that. The reports (of
/// zero-copy, timestamps, ICMP) are dropped: whoever wants them takes them before the connection is woken that often.
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

/// False if there were none.
bool Stream::drop_reports() noexcept {
  constexpr int kMost = 1024;  // at a time
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
  // Then on_close does not know it.
}

Address Stream::peer() const {
  return fd() < 0 && extra_ ? extra_->peer : peer_address(fd());
}

/// Traffic only notes its time; the timer looks at it when it fires and goes on for what is left.
void Stream::on_due() {
  const std::uint64_t limit = clock_limit();
  const std::uint64_t end = extra_->last_activity + limit;
  if (limit > 0 && end > now_ns()) {
    runtime()->schedule(*extra_, end);
  } else if (write_failed_) {
    shut(error_);
  } else if (limit > 0 && peer_took_bytes(limit)) {
    runtime()->schedule(*extra_, extra_->last_activity + limit);
  } else if (phase_ == Phase::connecting && !extra_->candidates.empty()) {
    try_next(ETIMEDOUT);
  } else {
    shut(phase_ == Phase::closing && fin_sent_ ? std::error_code{} : error_of(ETIMEDOUT));
  }
}

}  // namespace onloop::detail
