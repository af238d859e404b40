#include "core/runtime/runtime.hpp"

#include <poll.h>

#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/signal_entry.hpp"

namespace onloop::detail {
namespace {

constexpr const char* kWrongThread =
    "a context was used from another thread than the one that runs it; use a Remote, or release_thread() first";

}  // namespace

// ---- the context's life ----

Runtime::Runtime(Context& facade, const Loop& loop, ContextOptions options)
    : facade_(facade),
      options_(std::move(options)),
      host_(attach_loop(loop)),
      outer_(attach_set(loop, *host_)),
      driver_(outer_ ? &outer_->host() : host_.get()),
      process_(this_process()),
      mailbox_(std::make_shared<Mailbox>(options_.max_posted)),
      waker_(*this),
      deadline_(*this) {
  deadline_.queued_ = true;
  if (options_.around) due_ |= kAround;
  watch(waker_, mailbox_->fd(), ONLOOP_READ, "watch the eventfd that wakes the loop");
  try {
    if (outer_) deadline_.use_timerfd();
  } catch (...) {
    unwatch(waker_);
    throw;
  }
}

std::unique_ptr<LoopAttachment> Runtime::attach_loop(const Loop& loop) {
  return std::make_unique<LoopAttachment>(loop.hosting() == Hosting::aggregate ? native() : loop, guest());
}

std::unique_ptr<SetAttachment> Runtime::attach_set(const Loop& loop, LoopAttachment& set) {
  if (loop.hosting() == Hosting::direct) return nullptr;
  const int fd = set.fd();
  if (fd < 0) throw_error(ENOTSUP, "be hosted by one descriptor, where the native loop has none");
  return std::make_unique<SetAttachment>(loop, outer_guest(), fd);
}

onloop_guest Runtime::guest() noexcept {
  return {.version = ONLOOP_OPS_VERSION,
          .struct_size = sizeof(onloop_guest),
          .context = this,
          .on_ready = &Runtime::on_ready,
          .on_deadline = &Runtime::on_deadline};
}

onloop_guest Runtime::outer_guest() noexcept {
  onloop_guest guest = this->guest();
  guest.on_ready = &Runtime::on_set_ready;
  return guest;
}

void Runtime::shutdown() noexcept {
  check_thread_or_die();
  if (forked()) {
    release_thread();  // of the parent, perhaps not the one that forked
    abandon();
  }

  // Tasks first, while all is there that their destructors may call. From here on nothing is posted.
  ending_ = true;
  mailbox_->close();
  while (!tasks_.empty()) {  // one by one: making another deque could fail for want of memory
    const Task dropped = std::move(tasks_.front().task);
    tasks_.pop_front();
  }
  std::size_t subsystems = 0;
  do {  // again if one came meanwhile
    subsystems = subsystems_.size();
    for (std::size_t i = subsystems; i > 0; --i) subsystems_[i - 1]->sever();
  } while (subsystems_.size() > subsystems);
  for (std::size_t fd = 0; fd < sources_.size(); ++fd) {
    if (sources_[fd]) sources_[fd]->sever();
  }
  while (deferred_head_) deferred_head_ = std::move(deferred_head_->next_deferred_);
  while (timers_.take_any()) {
  }
  for (SignalEntry* entry : signals_) {
    if (entry) entry->sever();
  }
  signals_.clear();
  forget_ready();
  clear_blame();
  due_ |= kLeave;
  outer_.reset();
  host_.reset();
}

bool Runtime::forked() const noexcept {
  return this_process() != process_;
}

void Runtime::abandon() noexcept {
  host_->abandon();
  if (outer_) outer_->host().abandon();
}

void Runtime::refuse_forked() const {
  if (forked()) throw_error(EPERM, "use a context in a forked child: call after_fork() first");
}

// ---- threads ----

void Runtime::refuse_other_thread() const {
  if (other_thread()) throw_error(EPERM, kWrongThread);
}

void Runtime::check_thread_or_die() const noexcept {
  if (other_thread() && !forked()) die(kWrongThread);
}

// ---- running ----

void Runtime::run() {
  check_thread();
  refuse_forked();
  if (!driver_->owned()) throw_error(ENOTSUP, "run a loop that is the application's: the application runs it");
  if (running_) throw_error(EBUSY, "run a context that is running already");
  if (!signals_.empty()) SignalSubscription::look_after_all();

  const Held<Runtime> held(*this);
  struct Running {
    Runtime& runtime;
    const Frame frame{runtime};
    TurnBudget* const outer{std::exchange(runtime.budget_, nullptr)};  // of a turn by dispatch()
    explicit Running(Runtime& running) : runtime(running) {
      runtime.bind_thread();
      runtime.running_ = true;
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() {
      runtime.budget_ = outer;
      runtime.running_ = runtime.stop_ = runtime.arms_each_turn_ = false;
      if (runtime.keepalive_ && runtime.alive()) runtime.due_ &= static_cast<std::uint8_t>(~kLeave);
      runtime.release_thread();
      runtime.due_ |= kArm;
      runtime.arm_or_report();  // for an application that goes on with fd() and dispatch()
      if (runtime.fd_given_) runtime.announce_rest();
    }
  } const running(*this);

  do {  // again on the next loop after a move, if we own that one, too
    due_ &= static_cast<std::uint8_t>(~kSwitched);
    run_driver();
  } while ((due_ & (kLeave | kSwitched)) == kSwitched && driver_->owned());
}

/// Until it is to stop, or was left for another loop.
void Runtime::run_driver() {
  if (driver_->can_turn()) {
    arms_each_turn_ = !deadline_.uses_timerfd();
    turns();
    return;
  }
  if (!driver_->can_run()) throw_error(ENOTSUP, "run a loop whose shim has neither turn nor run");
  if (due_ & kLeave) return;
  arm_or_report();
  const int error = driver_->run();
  if (escaped_) std::rethrow_exception(std::exchange(escaped_, nullptr));
  if (error < 0) throw_error(error, "run the loop");
}

void Runtime::stop() noexcept {
  stop_ = true;
  due_ |= kLeave;
  stop_driver();
}

/// Needed only for a loop's own run call that is on the stack: one that was left meanwhile returns by itself.
void Runtime::stop_driver() noexcept {
  if (running_ && !(due_ & kSwitched) && !driver_->can_turn()) driver_->stop();
}

void Runtime::set_keepalive(bool on) noexcept {
  if (ending_) return;
  // A loop that has only run and stop was stopped when this was turned off, so run() has to run it again.
  if (on && !keepalive_ && running_ && !driver_->can_turn()) due_ |= kSwitched;
  keepalive_ = on;
  due_ = static_cast<std::uint8_t>(stop_ || !on ? due_ | kLeave : due_ & ~kLeave);
  driver_->keepalive(on);
  if (!on) stop_driver();
}

int Runtime::fd() {
  const int set = driver_->owned() && driver_->can_turn() ? driver_->fd() : -ENOSYS;
  if (set < 0) {
    throw_error(ENOTSUP,
                "get a descriptor for the loop \"" + std::string(driver_->loop().name()) + "\", which has none");
  }
  deadline_.use_timerfd();
  arms_each_turn_ = false;
  due_ |= kArm;
  arm_or_report();
  fd_given_ = true;
  return set;
}

/// A set that watches our descriptor edge-triggered hears of it only when something in it becomes ready. A dispatch
/// that leaves something ready, an end of file behind the last bytes or what a callback has not read, therefore writes
/// to the eventfd. The kernel alone knows what is left, so it is asked.
void Runtime::announce_rest() noexcept {
  if (!alive() || !driver_->owned()) return;
  pollfd set{.fd = driver_->fd(), .events = POLLIN, .revents = 0};
  if (set.fd >= 0 && ::poll(&set, 1, 0) != 0) mailbox_->nudge();
}

void Runtime::dispatch() {
  check_thread();
  refuse_forked();
  if (!driver_->owned() || !driver_->can_turn()) {
    throw_error(ENOTSUP, "dispatch a loop that is the application's, or whose shim has no turn");
  }
  bind_thread();
  const Held<Runtime> held(*this);
  const Frame frame(*this);
  struct AtEnd {
    Runtime& runtime;
    ~AtEnd() {
      if (runtime.fd_given_) runtime.announce_rest();
    }
  } const at_end{*this};
  one_turn();
  arm_or_report();
}

// ---- sources ----

void Runtime::watch(Source& source, int fd, std::uint32_t interest, std::string_view what) {
  const auto slot = static_cast<std::size_t>(fd);
  if (sources_.size() <= slot) sources_.resize(slot + 1);
  if (!vacate(fd)) refuse_if_watched(fd, what);
  if (const int error = host_->watch_add(fd, interest, &source, &source.watch_); error < 0) {
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
  const std::string what = "descriptor " + std::to_string(fd) + " was closed while it was watched";
  try {
    post([this, what] { report(error_of(EBADF), what); });  // not from within the call that has found out
  } catch (const std::bad_alloc&) {
    log_line(what);
  }
  return true;
}

std::error_code Runtime::want(Source& source, std::uint32_t interest) noexcept {
  source.wanted_ = static_cast<std::uint8_t>(interest);
  if (interest == source.set_ || (interest | ONLOOP_READ) == source.set_) return {};
  if (const int error = host_->watch_set(source.watch_, interest); error < 0) return error_of(error);
  source.set_ = static_cast<std::uint8_t>(interest);
  if (fd_given_ && frames_ == 0) announce_rest();  // what lay there while nobody wanted it is no news to the kernel
  return {};
}

void Runtime::unwatch(Source& source) noexcept {
  if (source.fd_ < 0) return;
  source.ready_ = Source::kGone;  // if it is queued, it stays there until it is come to
  if (source.watch_) {
    if (forked()) host_->abandon();  // a removal must not reach the parent's loop
    host_->watch_remove(std::exchange(source.watch_, nullptr));
  }
  sources_[static_cast<std::size_t>(source.fd_)] = nullptr;
  source.fd_ = -1;
  source.wanted_ = source.set_ = 0;
}

void Runtime::defer(Source& source) noexcept {
  if (source.deferred_) return;
  source.deferred_ = true;
  (deferred_head_ ? deferred_tail_->next_deferred_ : deferred_head_) = Held<Source>(source);
  deferred_tail_ = &source;
  ++deferred_count_;
  due_ |= kDeferred;
  deadline_changed();
}

// ---- timers and tasks ----

void Runtime::schedule(TimerNode& timer, std::uint64_t at) {
  timers_.schedule(timer, at);
  due_ |= kArm;
  if (arms_each_turn_) return;
  if (const int error = arm(); error < 0) {
    timers_.cancel(timer);
    throw_error(error, "set the loop's deadline");
  }
}

void Runtime::cancel(TimerNode& timer) noexcept {
  timers_.cancel(timer);
  due_ |= kArm;  // an early call does no harm, so the loop is told with the next change
}

void Runtime::post(Task task) {
  if (!task || ending_) return;
  tasks_.push_back({std::move(task), false});
  due_ |= kTasks;
  deadline_changed();
}

void Runtime::remove_signal(SignalEntry& entry) noexcept {
  for (SignalEntry*& each : signals_) {
    if (each == &entry) each = nullptr;
  }
  if (serving_signals_ == 0) std::erase(signals_, nullptr);
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

int Runtime::arm() noexcept {
  if (!alive()) return 0;
  const bool work = ready_head_ || (due_ & (kDeferred | kTasks | kMoved));
  const int error = deadline_.set(*host_, work ? 0 : timers_.earliest());
  if (error >= 0) due_ &= static_cast<std::uint8_t>(~kArm);
  return error;
}

void Runtime::report_deadline(int error) noexcept {
  if (error >= 0) {
    deadline_failed_ = false;
    return;
  }
  // Nothing else may bring about the turn that tries again. Once only, since it may fail for good.
  if (!std::exchange(deadline_failed_, true)) mailbox_->nudge();
  report(error_of(error), "set the loop's deadline");
}

void Runtime::deadline_changed() noexcept {
  due_ |= kArm;
  if (!arms_each_turn_) arm_or_report();
}

void Runtime::Waker::on_ready(std::uint32_t) {
  Runtime& own = *runtime();
  own.mailbox_->clear();
  if (own.mailbox_->take_wake()) own.wake_due_ = true;
  if (!own.signals_.empty()) SignalSubscription::look_after_all();
  if (const std::uint64_t came = own.mailbox_->take_signals()) {
    own.signals_due_ = true;
    for (SignalEntry* entry : own.signals_) {
      if (entry && (came >> (entry->number() - 1) & 1)) entry->due = true;
    }
  }
  own.due_ |= kTasks;  // also if there is no memory for the rest
  own.mailbox_->take_tasks([&own](Task&& task, bool counted) {
    own.tasks_.emplace_back();
    own.tasks_.back() = {std::move(task), counted};
  });
}

void Runtime::Waker::sever() noexcept {
  runtime()->unwatch(*this);
  cut_off();
}

}  // namespace onloop::detail
