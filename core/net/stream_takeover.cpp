// How a Stream goes from one process to another: frozen, as a record, and thawed.

#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"
#include "core/takeover/record.hpp"

namespace onloop::detail {

void Stream::freeze() noexcept {
  frozen_ = true;
  if (extra_) {
    runtime()->cancel(*extra_);
    extra_->frozen_at = now_ns();
  }
  apply();
}

void Stream::thaw() noexcept {
  frozen_ = false;
  try {
    if (const std::uint64_t limit = extra_ ? clock_limit() : 0; limit > 0) {
      extra_->last_activity += now_ns() - extra_->frozen_at;  // meanwhile nobody could have read
      runtime()->schedule(*extra_, extra_->last_activity + limit);
    } else {
      stop_clock();
    }
  } catch (const std::exception&) {
    shut(error_of(ENOMEM));
    return;
  }
  if (std::exchange(refused_, false)) drain_due_ = true;
  if (drain_due_) runtime()->defer(*this);
  apply();
  const Wish wish = std::exchange(wish_, Wish::none);
  if (wish == Wish::end_writing) end_writing();
  if (wish == Wish::end) end();
  if (wish == Wish::reset) reset(error_);
}

ConnectionRecord Stream::record() const {
  ConnectionRecord record;
  record.closing = phase_ == Phase::closing;
  record.paused = paused_;
  record.full = full_;
  record.waiting = waiting_;
  record.drain_due = drain_due_;
  record.read_ended = read_ended_;
  record.write_ended = write_ended_;
  record.fin_sent = fin_sent_;
  record.limits = *limits_;
  record.queued = queued();
  if (extra_) {
    record.idle_ns = extra_->idle_ns;
    const std::uint64_t end = extra_->last_activity + clock_limit();
    record.clock_ns = end > extra_->frozen_at ? end - extra_->frozen_at : 1;
  }
  return record;
}

void Stream::copy_queued(std::size_t offset, std::span<std::byte> into) const noexcept {
  queue_->copy(offset, into);
}

void Stream::restore(int fd, const ConnectionRecord& record) {
  frozen_ = true;
  phase_ = record.closing ? Phase::closing : Phase::open;
  paused_ = record.paused;
  full_ = record.full;
  waiting_ = record.waiting;
  drain_due_ = record.drain_due;
  read_ended_ = record.read_ended;
  write_ended_ = record.write_ended;
  fin_sent_ = record.fin_sent;
  if (record.clock_ns > 0) {
    extra_ = std::make_unique<Extra>(*this);
    extra_->idle_ns = record.idle_ns;
    extra_->frozen_at = now_ns();
    extra_->last_activity = extra_->frozen_at + record.clock_ns - clock_limit();
  }
  runtime()->watch(*this, fd, ONLOOP_NONE, "take over a connection");
  if (extra_) look_at_kernel();
}

void Stream::restore_queued(std::span<const std::byte> data) {
  if (!queue_) queue_ = std::make_unique<WriteQueue>();
  queue_->append(data);
}

}  // namespace onloop::detail
