// How a context leaves one loop for another: by move_to(), and in a forked child.

#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

/// Whether its sources are in a native set that another loop can watch: under aggregate hosting, and on the native loop
/// itself.
bool has_set(const Loop& loop) noexcept {
  return loop.hosting() == Hosting::aggregate || (&loop.ops() == &native().ops() && !loop.foreign());
}

}  // namespace

/// Everything of a context on the next loop, while the last still has it: until commit() it can be given up, and
/// nothing has happened. Where both have a native set that one stays, and only the attachment around it is another.
class Runtime::Cutover {
 public:
  /// Attaches, due at once. Throws std::system_error that says what failed, and then nothing stays in the next loop.
  Cutover(Runtime& runtime, const Loop& loop, bool keeps_set)
      : runtime_(runtime),
        began_(now_ns()),
        host_(keeps_set ? nullptr : runtime.attach_loop(loop)),
        outer_(attach_set(loop)) {
    if (host_) {
      attach_sources();
    } else if (outer_) {
      runtime_.deadline_.use_timerfd();  // the last step: nothing can fail after it
    } else if (loop.priority()) {
      runtime_.host_->set_priority(*loop.priority());  // which it refuses, as in an attach
    }
  }
  Cutover(const Cutover&) = delete;
  Cutover& operator=(const Cutover&) = delete;
  ~Cutover() { remove_watches(); }

  void commit() noexcept;

 private:
  [[nodiscard]] LoopAttachment& next_host() const noexcept { return host_ ? *host_ : *runtime_.host_; }
  [[nodiscard]] std::unique_ptr<SetAttachment> attach_set(const Loop& loop) {
    return runtime_.attach_set(loop, next_host());
  }
  void attach_sources();
  void attach_deadline();
  void vacate(int fd) noexcept;
  void add(Source& source, int fd, std::uint32_t interest);
  void remove_watches() noexcept;
  void switch_watches() noexcept;

  Runtime& runtime_;
  const std::uint64_t began_;
  std::unique_ptr<LoopAttachment> host_;  // null where the set stays
  std::unique_ptr<SetAttachment> outer_;
  std::vector<onloop_watch*> watches_;  // on host_, by descriptor
  UniqueFd timer_;                      // the deadline's there, if it had none before
  bool needs_timer_ = false;
};

void Runtime::Cutover::attach_sources() try {
  watches_.resize(runtime_.sources_.size());
  for (Source* source : runtime_.sources_) {
    if (source && source != &runtime_.deadline_) add(*source, source->fd_, source->wanted_);
  }
  attach_deadline();
} catch (...) {
  remove_watches();
  throw;
}

/// By the loop's slot, or by a timerfd: the one that there is already comes along.
void Runtime::Cutover::attach_deadline() {
  const int error = outer_ ? -ENOSYS : host_->deadline_set(0);
  if (error >= 0) return;
  if (error != -ENOSYS)
    throw_error(error, "set the deadline of the loop \"" + std::string(host_->loop().name()) + "\"");
  needs_timer_ = true;
  Deadline& deadline = runtime_.deadline_;
  if (deadline.uses_timerfd()) {
    add(deadline, deadline.fd_, ONLOOP_READ);
    return;
  }
  timer_ = Deadline::make_timerfd();
  vacate(timer_.get());
  const auto slots = static_cast<std::size_t>(timer_.get()) + 1;
  if (runtime_.sources_.size() < slots) runtime_.sources_.resize(slots);
  if (watches_.size() < slots) watches_.resize(slots);
  add(deadline, timer_.get(), ONLOOP_READ);
}

/// A stale watch of a number that the kernel has given out again.
void Runtime::Cutover::vacate(int fd) noexcept {
  const auto slot = static_cast<std::size_t>(fd);
  if (!runtime_.source_of(fd)) return;
  runtime_.vacate(fd);
  if (slot < watches_.size() && watches_[slot]) host_->watch_remove(std::exchange(watches_[slot], nullptr));
}

void Runtime::Cutover::add(Source& source, int fd, std::uint32_t interest) {
  const int error = host_->watch_add(fd, interest, &source, &watches_[static_cast<std::size_t>(fd)]);
  if (error < 0) {
    throw_error(
        error, "watch descriptor " + std::to_string(fd) + " on the loop \"" + std::string(host_->loop().name()) + "\"");
  }
}

void Runtime::Cutover::remove_watches() noexcept {
  for (onloop_watch*& watch : watches_) {
    if (watch) host_->watch_remove(std::exchange(watch, nullptr));
  }
}

/// Each source has its watch on the next loop, and none on the last any more.
void Runtime::Cutover::switch_watches() noexcept {
  Deadline& deadline = runtime_.deadline_;
  if (!needs_timer_) deadline.close();
  if (timer_) {
    deadline.fd_ = timer_.get();
    deadline.wanted_ = ONLOOP_READ;
    runtime_.sources_[static_cast<std::size_t>(deadline.fd_)] = &deadline;
  }
  for (Source* source : runtime_.sources_) {
    if (!source) continue;
    if (source->watch_) runtime_.host_->watch_remove(source->watch_);
    source->watch_ = std::exchange(watches_[static_cast<std::size_t>(source->fd_)], nullptr);
    source->set_ = source->wanted_;
  }
}

void Runtime::Cutover::commit() noexcept {
  int error = 0;
  if (host_) {
    switch_watches();
  } else if (outer_) {
    runtime_.host_->deadline_set(ONLOOP_NO_DEADLINE);  // from here on by the timerfd
  } else {
    runtime_.deadline_.close();
    error = runtime_.host_->deadline_set(0);
  }
  const UniqueFd& timer = timer_ ? timer_ : runtime_.deadline_.timer();
  if (timer) error = Deadline::arm(timer, 0);
  runtime_.deadline_.moved(error < 0 ? ONLOOP_NO_DEADLINE : 0, std::move(timer_));
  if (error < 0) runtime_.mailbox_->nudge();  // brings about the turn that tries again

  std::swap(runtime_.outer_, outer_);
  outer_.reset();  // before the set that it watches
  if (host_) std::swap(runtime_.host_, host_);
  host_.reset();
  runtime_.driver_ = runtime_.outer_ ? &runtime_.outer_->host() : runtime_.host_.get();
  if (!runtime_.keepalive_) runtime_.driver_->keepalive(false);

  // The rest of the batch is not delivered in the frame of the last loop: the next announces it again.
  runtime_.forget_ready();
  runtime_.collecting_ = runtime_.arms_each_turn_ = false;
  runtime_.due_ |= kMoved | kArm;
  runtime_.moved_at_ = began_;
  if (runtime_.running_) runtime_.due_ |= kSwitched;
}

bool Runtime::move_to(const Loop& loop) {
  check_thread();
  refuse_forked();
  const Loop& last = this->loop();
  if (loop == last) {
    if (loop.priority() && loop.priority() != last.priority()) driver_->set_priority(*loop.priority());
    return false;
  }
  Cutover(*this, loop, has_set(loop) && has_set(last)).commit();
  ++cutovers_;
  if (frames_ == 0) {
    release_thread();
  } else {
    thread_free_ = true;
  }
  return true;
}

/// The first turn on a loop that the context has moved to.
void Runtime::arrived() noexcept {
  due_ &= static_cast<std::uint8_t>(~kMoved);
  if (moved_at_ != 0) last_stall_ = now_ns() - moved_at_;
}

/// The last frame on the loop that was left has gone.
void Runtime::free_thread() noexcept {
  thread_free_ = false;
  release_thread();
}

/// What was ready is announced again.
void Runtime::forget_ready() noexcept {
  while (Source* source = ready_head_) {
    ready_head_ = source->next_ready_;
    source->queued_ = false;
    if (!source->busy_) source->do_postponed();
  }
  ready_end_ = &ready_head_;
}

void Runtime::after_fork(const Loop& loop) {
  if (!forked()) throw_error(EINVAL, "after_fork in the process that made the context");
  release_thread();
  abandon();  // from here on a removal reaches no loop
  deadline_.close();
  unwatch(waker_);
  mailbox_->renew();
  vacate(mailbox_->fd());
  const auto slot = static_cast<std::size_t>(mailbox_->fd());
  if (sources_.size() <= slot) sources_.resize(slot + 1);
  sources_[slot] = &waker_;
  waker_.fd_ = mailbox_->fd();
  waker_.wanted_ = ONLOOP_READ;
  waker_.ready_ = 0;
  Cutover(*this, loop, false).commit();
  process_ = this_process();
  moved_at_ = 0;                                                                      // no cutover
  for (std::size_t i = 0; i < subsystems_.size(); ++i) subsystems_[i]->after_fork();  // which may make another
}

}  // namespace onloop::detail
