// The life of a Runtime, its sources, timers and tasks, and its deadline. The rest is in run.cpp and cutover.cpp.
#include "core/runtime/runtime.hpp"

#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace onloop::detail {

// ---- the context's life ----

Runtime::Runtime(Context& facade, const Loop& loop, ContextOptions options)
    : facade_(facade),
      options_(std::move(options)),
      attachments_(*this, loop),
      mailbox_(std::make_shared<Mailbox>(options_.max_posted)) {
  watch(waker_, mailbox_->fd(), ONLOOP_READ, "watch the eventfd that wakes the loop");
  try {
    if (attachments_.is_aggregate()) deadline_.use_timerfd();
  } catch (...) {
    unwatch(waker_);
    throw;
  }
}

void Runtime::shutdown() noexcept {
  check_thread_or_die();
  if (forked()) {
    release_thread();  // the context may be bound to a thread of the parent other than the one that forked
    attachments_.abandon();
  }

  // The tasks are destroyed first, while everything that their destructors may call still exists. From here on nothing
  // can be posted.
  ending_ = true;
  mailbox_->close();
  turn_.drop_tasks();
  subsystems_.sever();
  for (std::size_t fd = 0; fd < sources_.size(); ++fd) {
    if (sources_[fd]) sources_[fd]->sever();
  }
  turn_.drop_rest();
  blamed_ = nullptr;
  turn_.due().set(Due::kLeave);
  attachments_.detach();
}

void Runtime::refuse_forked() const {
  if (forked()) throw_error(EPERM, "use a context in a forked child: call after_fork() first");
}

void Runtime::check_thread_or_die() const noexcept {
  if (thread_.is_other() && !forked()) die(ThreadBinding::kWrongThread);
}

// ---- sources ----

void Runtime::watch(Source& source, int fd, std::uint32_t interest, std::string_view what) {
  const auto slot = static_cast<std::size_t>(fd);
  if (sources_.size() <= slot) sources_.resize(slot + 1);
  if (!vacate(fd)) refuse_if_watched(fd, what);
  if (const int error = attachments_.sources().watch_add(fd, interest, &source, &source.watch_); error < 0) {
    throw_error(error, std::string(what));
  }
  sources_[slot] = &source;
  source.fd_ = fd;
  source.wanted_ = source.set_ = static_cast<std::uint8_t>(interest);
}

void Runtime::refuse_if_watched(int fd, std::string_view what) const {
  const Source* there = source_of(fd);
  if (!there || !there->has_its_file()) return;
  throw_error(EEXIST, std::string(what) + ": this context watches descriptor " + std::to_string(fd) + " already");
}

bool Runtime::vacate(int fd) noexcept {
  Source* stale = source_of(fd);
  if (!stale) return true;
  if (!stale->lose_number()) return false;
  try {
    // Not from within the call that has found out.
    post([this, what = "descriptor " + std::to_string(fd) + " was closed while it was watched"] {
      report(error_of(EBADF), what);
    });
  } catch (const std::bad_alloc&) {
    // Then nobody is told. The new descriptor is served all the same.
  }
  return true;
}

/// An interest in READ that is no longer wanted stays in the loop until the next event of the source. Most pauses are
/// short, and removing and adding again costs more than two changes.
std::error_code Runtime::want(Source& source, std::uint32_t interest) noexcept {
  source.wanted_ = static_cast<std::uint8_t>(interest);
  if (interest == source.set_ || (interest | ONLOOP_READ) == source.set_) return {};
  if (const int error = attachments_.sources().watch_set(source.watch_, interest); error < 0) return error_of(error);
  source.set_ = static_cast<std::uint8_t>(interest);
  if (fd_given_ && frames() == 0) announce_rest();  // data that came while nobody wanted it is no new event
  return {};
}

void Runtime::unwatch(Source& source) noexcept {
  if (source.fd_ < 0) return;
  source.ready_ = Source::kGone;  // if the source is in the list of what is ready, it stays there until its turn
  if (source.watch_) {
    if (forked()) attachments_.sources().abandon();  // a removal must not reach the parent's loop
    attachments_.sources().watch_remove(std::exchange(source.watch_, nullptr));
  }
  sources_[static_cast<std::size_t>(source.fd_)] = nullptr;
  source.fd_ = -1;
  source.wanted_ = source.set_ = 0;
}

void Runtime::defer(Source& source) noexcept {
  if (turn_.defer(source)) deadline_changed();
}

void Runtime::blame(Source& source) noexcept {
  if (!blamed_) blamed_ = Held<Source>(source);
}

// ---- timers and tasks ----

void Runtime::schedule(TimerNode& timer, std::uint64_t at) {
  turn_.timers().schedule(timer, at);
  turn_.due().set(Due::kDeadline);
  if (arms_before_wait_) return;
  if (const int error = arm(); error < 0) {
    turn_.timers().cancel(timer);
    throw_error(error, "set the loop's deadline");
  }
}

void Runtime::cancel(TimerNode& timer) noexcept {
  turn_.timers().cancel(timer);
  turn_.due().set(Due::kDeadline);  // an early up-call does no harm, so the loop is not told before the next change
}

void Runtime::post(Task task) {
  if (!task || ending_) return;
  turn_.post(std::move(task));
  deadline_changed();
}

void Runtime::report(std::error_code error, std::string_view what) noexcept try {
  const Held<Runtime> held(*this);
  if (options_.on_error) {
    options_.on_error(error, what);
  } else {
    log_line(std::string(what) + ": " + error.message());
  }
} catch (const std::exception& thrown) {
  log_line(std::string("on_error threw: ") + thrown.what());
} catch (...) {
  log_line("on_error threw");
}

// ---- the deadline ----

/// Tells the loop the next deadline, if it has changed. Returns 0 or a negative errno.
int Runtime::arm() noexcept {
  if (!alive()) return 0;
  const int error = deadline_.set(attachments_.sources(), turn_.has_work() ? 0 : turn_.timers().earliest());
  if (error >= 0) turn_.due().clear(Due::kDeadline);
  return error;
}

/// Tells the loop the next deadline, if it may have changed. Reports an error.
void Runtime::arm_if_due() noexcept {
  if (!turn_.due().any(Due::kDeadline)) return;
  const int error = arm();
  if (error >= 0) {
    deadline_failed_ = false;
    return;
  }
  // Perhaps nothing else causes the turn that tries again, so this wakes the loop. It does so only once, because
  // setting the deadline may fail for good.
  if (!std::exchange(deadline_failed_, true)) mailbox_->nudge();
  report(error_of(error), "set the loop's deadline");
}

void Runtime::deadline_fired() noexcept {
  deadline_.fired();
  turn_.due().set(Due::kTimers | Due::kDeadline);
}

/// Some work now waits for a turn, so the deadline may have to change.
void Runtime::deadline_changed() noexcept {
  turn_.due().set(Due::kDeadline);
  if (!arms_before_wait_) arm_if_due();
}

}  // namespace onloop::detail
