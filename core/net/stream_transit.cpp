// How a Stream goes to another process: it is frozen, described by a snapshot, restored from the snapshot, and thawed.

#include <algorithm>
#include <cerrno>
#include <exception>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

void Stream::freeze() {
  if (!transit_) transit_ = std::make_unique<Transit>();
  transit_->frozen = true;
  transit_->frozen_at = now_ns();
  if (extra_) runtime()->cancel(*extra_);
  apply();
}

void Stream::thaw() noexcept {
  const Transit transit = *transit_;
  if (transit.copied) {
    *transit_ = {.frozen = false, .copied = true, .reset_with = {}};
  } else {
    transit_.reset();
  }
  try {
    if (const std::uint64_t limit = extra_ ? clock_limit() : 0; limit > 0) {
      extra_->last_activity += now_ns() - transit.frozen_at;  // the frozen time does not count: nobody could read
      runtime()->schedule(*extra_, extra_->last_activity + limit);
    } else {
      stop_clock();
    }
  } catch (const std::exception&) {
    shut(error_of(ENOMEM));
    return;
  }
  if (transit.write_refused) drain_due_ = true;
  if (drain_due_) runtime()->defer(*this);
  apply();
  if (transit.wish == Wish::end_writing) end_writing();
  if (transit.wish == Wish::end) {
    try {
      end();
    } catch (const std::exception&) {
      reset(error_of(ENOMEM));  // without a clock, a peer that takes nothing would keep it for ever
      return;
    }
  }
  if (transit.wish == Wish::reset) reset(transit.reset_with);
}

/// Postpones what would change a frozen connection until thaw(). Only the strongest wish is kept.
/// @return False if the connection is not frozen. Then the caller must do at once what it wants.
bool Stream::postpone(Wish wish) noexcept {
  if (!frozen()) return false;
  transit_->wish = std::max(transit_->wish, wish);
  return true;
}

ConnectionSnapshot Stream::snapshot() const {
  ConnectionSnapshot snapshot{.closing = phase_ == Phase::closing,
                              .paused = paused_,
                              .full = full_,
                              .waiting = waiting_,
                              .drain_due = drain_due_,
                              .read_ended = read_ended_,
                              .write_ended = write_ended_,
                              .fin_sent = fin_sent_,
                              .limits = limits(),
                              .queued = queued()};
  if (extra_) {
    snapshot.idle_ns = extra_->idle_ns;
    const std::uint64_t end = extra_->last_activity + clock_limit();
    snapshot.clock_ns = end > transit_->frozen_at ? end - transit_->frozen_at : 1;
  }
  return snapshot;
}

void Stream::copy_queued(std::size_t offset, std::span<std::byte> into) const noexcept {
  queue_->copy(offset, into);
}

void Stream::restore(int fd, const ConnectionSnapshot& snapshot, const std::string& what) {
  transit_ = std::make_unique<Transit>();
  transit_->frozen_at = now_ns();
  phase_ = snapshot.closing ? Phase::closing : Phase::open;
  paused_ = snapshot.paused;
  full_ = snapshot.full;
  waiting_ = snapshot.waiting;
  drain_due_ = snapshot.drain_due;
  read_ended_ = snapshot.read_ended;
  write_ended_ = snapshot.write_ended;
  fin_sent_ = snapshot.fin_sent;
  if (snapshot.clock_ns > 0) {
    extra_ = std::make_unique<Extra>(*this);
    extra_->idle_ns = snapshot.idle_ns;
    extra_->last_activity = transit_->frozen_at + snapshot.clock_ns - clock_limit();
  }
  runtime()->sources().watch(*this, fd, ONLOOP_NONE, what);
  if (extra_) look_at_kernel();
}

void Stream::restore_queued(std::span<const std::byte> data) {
  if (!queue_) queue_ = std::make_unique<WriteQueue>();
  queue_->append(data);
}

}  // namespace onloop::detail
