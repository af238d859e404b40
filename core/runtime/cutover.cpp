// How a context moves from one loop to another: by move_to(), and by after_fork() in a forked child.

#include "core/runtime/cutover.hpp"

#include <cerrno>
#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

/// True if the sources of a context on this loop are in a native set that another loop can watch. This is so under
/// aggregate hosting, and on the native loop itself.
bool has_set(const Loop& loop) noexcept {
  return loop.hosting() == Hosting::aggregate || (&loop.ops() == &native().ops() && !loop.foreign());
}

std::string quoted(const Loop& loop) {
  return "\"" + std::string(loop.name()) + "\"";
}

}  // namespace

Cutover::Cutover(Runtime& runtime, const Loop& loop, bool keeps_set)
    : runtime_(runtime),
      sources_(keeps_set ? nullptr : Attachments::for_sources(runtime, loop)),
      set_(Attachments::for_set(runtime, loop, next_sources())) {
  if (sources_) {
    attach_sources();
  } else if (set_) {
    runtime_.deadline_.use_timerfd();  // the last step: nothing can fail after it
  } else if (loop.priority()) {
    next_sources().set_priority(*loop.priority());  // the native loop refuses this, as it does in an attach
  }
}

/// The attachment that watches the sources after the cutover.
LoopAttachment& Cutover::next_sources() const noexcept {
  return sources_ ? *sources_ : runtime_.attachments_.sources();
}

/// Watches all sources on the next loop. If that fails, it removes the watches again and throws std::system_error.
void Cutover::attach_sources() try {
  watches_.resize(runtime_.sources_.by_descriptor().size());
  for (Source* source : runtime_.sources_.by_descriptor()) {
    if (source && source != &runtime_.deadline_) add(*source, source->fd_, source->wanted_);
  }
  attach_deadline();
} catch (...) {
  remove_watches();
  throw;
}

/// Sets up the deadline on the next loop: with the loop's `deadline_set` slot or, if the loop has none, with a timerfd.
/// If the context uses a timerfd already, that one moves to the next loop.
void Cutover::attach_deadline() {
  const int error = set_ ? -ENOSYS : sources_->deadline_set(0);
  if (error >= 0) return;
  if (error != -ENOSYS) throw_error(error, "set the deadline of the loop " + quoted(sources_->loop()));
  needs_timer_ = true;
  Deadline& deadline = runtime_.deadline_;
  if (deadline.uses_timerfd()) {
    add(deadline, deadline.fd_, ONLOOP_READ);
    return;
  }
  timer_ = Deadline::make_timerfd();
  vacate(timer_.get());
  const auto slots = static_cast<std::size_t>(timer_.get()) + 1;
  runtime_.sources_.reserve(slots);
  if (watches_.size() < slots) watches_.resize(slots);
  add(deadline, timer_.get(), ONLOOP_READ);
}

/// Ends a stale watch of this descriptor number: its descriptor was closed, and the kernel has given out the number
/// again.
void Cutover::vacate(int fd) noexcept {
  const auto slot = static_cast<std::size_t>(fd);
  if (!runtime_.sources_.find(fd)) return;
  runtime_.sources_.vacate(fd);
  if (slot < watches_.size() && watches_[slot]) sources_->watch_remove(std::exchange(watches_[slot], nullptr));
}

/// Watches the descriptor on the next loop, for the source. Throws std::system_error.
void Cutover::add(Source& source, int fd, std::uint32_t interest) {
  const int error = sources_->watch_add(fd, interest, &source, &watches_[static_cast<std::size_t>(fd)]);
  if (error < 0) {
    throw_error(error, "watch descriptor " + std::to_string(fd) + " on the loop " + quoted(sources_->loop()));
  }
}

/// Removes the watches that the next loop has and no source uses yet.
void Cutover::remove_watches() noexcept {
  for (onloop_watch*& watch : watches_) {
    if (watch) sources_->watch_remove(std::exchange(watch, nullptr));
  }
}

/// Gives each source its watch on the next loop, and removes its watch on the last loop.
void Cutover::switch_watches() noexcept {
  Deadline& deadline = runtime_.deadline_;
  if (!needs_timer_) deadline.close();
  if (timer_) {
    deadline.fd_ = timer_.get();
    deadline.wanted_ = ONLOOP_READ;
    runtime_.sources_.put(deadline.fd_, deadline);
  }
  for (Source* source : runtime_.sources_.by_descriptor()) {
    if (!source) continue;
    if (source->watch_) runtime_.attachments_.sources().watch_remove(source->watch_);
    source->watch_ = std::exchange(watches_[static_cast<std::size_t>(source->fd_)], nullptr);
    source->set_ = source->wanted_;
  }
}

/// Switches the deadline where the native set stays. Returns 0 or a negative errno.
int Cutover::switch_deadline() noexcept {
  LoopAttachment& loop = runtime_.attachments_.sources();
  if (set_) {
    loop.deadline_set(ONLOOP_NO_DEADLINE);  // the timerfd takes over
    return 0;
  }
  runtime_.deadline_.close();
  return loop.deadline_set(0);
}

void Cutover::commit() noexcept {
  int error = 0;
  if (sources_) {
    switch_watches();
  } else {
    error = switch_deadline();
  }
  const Descriptor& timer = timer_ ? timer_ : runtime_.deadline_.timer();
  if (timer) error = Deadline::arm(timer, 0);
  runtime_.deadline_.moved(error < 0 ? ONLOOP_NO_DEADLINE : 0, std::move(timer_));
  if (error < 0) runtime_.mailbox_->nudge();  // wakes the loop for a turn, which tries again

  runtime_.attachments_.replace(std::move(sources_), std::move(set_));
  if (!runtime_.keepalive_) runtime_.attachments_.driven().keepalive(false);

  // The sources that are still in the list of what is ready are not served in a frame of the last loop. The next loop
  // reports them again.
  runtime_.turn_.forget_ready();
  runtime_.collecting_ = runtime_.arms_before_wait_ = false;
  runtime_.turn_.due().set(Due::kMoved | Due::kDeadline);
  if (runtime_.running_) runtime_.turn_.due().set(Due::kSwitched);
}

// ---- what the application calls ----

bool Runtime::move_to(const Loop& loop) {
  check_thread();
  refuse_forked();
  const Loop& last = this->loop();
  if (loop == last) {
    if (loop.priority() && loop.priority() != last.priority()) attachments_.driven().set_priority(*loop.priority());
    return false;
  }
  const std::uint64_t began = now_ns();
  Cutover(*this, loop, has_set(loop) && has_set(last)).commit();
  cutover_history_.moved(began);
  thread_.release_after_frames();
  return true;
}

void Runtime::after_fork(const Loop& loop) {
  if (!forked())
    throw_error(EINVAL, "after_fork: this process has made the context; call after_fork() only in a forked child");
  release_thread();
  attachments_.abandon();  // from here on the removal of a watch does not reach the parent's loop
  deadline_.close();
  sources_.unwatch(waker_);
  mailbox_->renew();
  sources_.vacate(mailbox_->fd());
  sources_.reserve(static_cast<std::size_t>(mailbox_->fd()) + 1);
  sources_.put(mailbox_->fd(), waker_);
  waker_.fd_ = mailbox_->fd();
  waker_.wanted_ = ONLOOP_READ;
  waker_.ready_ = 0;
  Cutover(*this, loop, false).commit();
  process_ = this_process();
  cutover_history_.forked();
  subsystems_.after_fork();
}

}  // namespace onloop::detail
