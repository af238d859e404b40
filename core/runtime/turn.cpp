// How a Runtime serves a turn: from the loop's up-calls to user code.

#include <algorithm>
#include <string>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/signal_entry.hpp"

namespace onloop::detail {
namespace {

/// The kinds of work in a turn, in their order.
enum Kind : unsigned { kDueTimers, kReadySources, kDeferredCalls, kPostedTasks, kKinds };

}  // namespace

/// Up-calls come from a loop that this context drives, and only collect. A move ends that for all frames on the stack.
class Runtime::Collecting {
 public:
  explicit Collecting(Runtime& runtime) noexcept
      : runtime_(runtime), cutovers_(runtime.cutovers_), outer_(std::exchange(runtime.collecting_, true)) {}
  Collecting(const Collecting&) = delete;
  Collecting& operator=(const Collecting&) = delete;
  ~Collecting() { runtime_.collecting_ = outer_ && cutovers_ == runtime_.cutovers_; }

 private:
  Runtime& runtime_;
  const std::uint64_t cutovers_;
  const bool outer_;
};

// ---- up-calls: entered from C, left without an exception ----

void Runtime::on_ready(void* context, std::uint32_t readiness) {
  Source& source = *static_cast<Source*>(context);
  Runtime& runtime = *source.runtime_;
  if (runtime.collecting_ && !source.queued_) {
    runtime.collect(source, readiness);
  } else {
    runtime.on_ready_slow(source, readiness);
  }
}

void Runtime::on_ready_slow(Source& source, std::uint32_t readiness) noexcept {
  if (&source == &deadline_) {
    deadline_fired();
  } else if (source.queued_) {  // by an outer turn that has not come to it yet
    source.ready_ = static_cast<std::uint8_t>(readiness);
  } else {
    collect(source, readiness);
  }
  if (!collecting_) serve_upcall();
}

inline void Runtime::collect(Source& source, std::uint32_t readiness) noexcept {
  source.ready_ = static_cast<std::uint8_t>(readiness);
  source.queued_ = true;
  source.next_ready_ = nullptr;
  *ready_end_ = &source;
  ready_end_ = &source.next_ready_;
}

void Runtime::on_deadline(void* context) {
  Runtime& runtime = *static_cast<Runtime*>(context);
  runtime.deadline_fired();
  if (!runtime.collecting_) runtime.serve_upcall();
}

/// Under aggregate hosting: one turn of the native set, which only collects; in it come its deadline and its waker,
/// too.
void Runtime::on_set_ready(void* context, std::uint32_t) {
  Runtime& runtime = *static_cast<Runtime*>(context);
  const Held<Runtime> held(runtime);
  const Frame frame(runtime);
  if (!runtime.collecting_) runtime.enter_upcall();
  int error = 0;
  {
    const Collecting collecting(runtime);
    error = runtime.host_->turn(0);
  }
  const std::uint64_t moves = runtime.cutovers_;
  if (error < 0) runtime.report(error_of(error), "wait on the native set");
  if (runtime.alive() && !runtime.collecting_ && runtime.cutovers_ == moves) runtime.serve_upcall();
}

void Runtime::deadline_fired() noexcept {
  deadline_.fired();
  due_ |= kTimers | kArm;
}

void Runtime::enter_upcall() noexcept {
  if (other_thread()) die("a loop calls its context from another thread than before; release_thread() first");
  bind_thread();
}

void Runtime::serve_upcall() noexcept {
  const Held<Runtime> held(*this);
  const Frame frame(*this);
  enter_upcall();
  const bool in_run = running_ && driver_->owned();
  try {
    serve_within_budget();
  } catch (...) {
    caught(std::current_exception(), in_run);
  }
  due_ |= kArm;
  arm_or_report();
}

void Runtime::caught(const std::exception_ptr& exception, bool in_run) noexcept {
  Source* culprit = blamed_.get();
  std::string words = "a callback threw";
  try {
    if (in_run) {
      escaped_ = exception;
      if (alive()) stop_driver();
    } else if (options_.on_exception) {
      options_.on_exception(exception);
    } else {
      if (culprit && culprit->runtime_ && culprit->on_exception(error_of(ECONNABORTED))) {
        words += ", its connection is aborted";
      }
      std::rethrow_exception(exception);
    }
  } catch (const std::exception& thrown) {
    report(error_of(ECONNABORTED), words + " (" + thrown.what() + ")");
  } catch (...) {
    report(error_of(ECONNABORTED), words);
  }
  clear_blame();
}

// ---- a turn ----

inline void Runtime::turn(std::int64_t max_wait_ns) {
  const int error = driver_->turn(max_wait_ns);
  if (error < 0) turn_failed(error);
}

void Runtime::turn_failed(int error) {
  throw_error(error, "wait on the loop");
}

/// Turns until something says leave, or the loop was left for another.
void Runtime::turns() try {
  const Collecting collecting(*this);
  for (;;) {
    if (due_ & (kLeave | kArm | kSwitched)) {
      if (due_ & (kLeave | kSwitched)) return;
      arm_or_report();
    }
    turn(-1);
    serve();
  }
} catch (...) {
  clear_blame();  // the caller of run() gets the exception
  due_ |= kArm;   // there may be sources left
  throw;
}

void Runtime::one_turn() try {
  const Collecting collecting(*this);
  arm_or_report();
  turn(0);
  serve_within_budget();
} catch (...) {
  clear_blame();
  due_ |= kArm;
  arm_or_report();
  throw;
}

inline void Runtime::serve() {
  if (due_ & (kAround | kTimers | kMoved)) {
    if (due_ & kAround) {
      serve_around();
      return;
    }
    if (due_ & kMoved) arrived();
    if (due_ & kTimers) serve_timers();
  }
  serve_sources();
}

void Runtime::serve_around() {
  if (!ready_head_ && !(due_ & (kTimers | kMoved))) return;
  options_.around([this] { serve_batch_within_budget(); });
}

/// Where the loop is the application's, a turn ends after a while, so that it gets to what is its own.
void Runtime::serve_within_budget() {
  if (due_ & kAround) {
    serve_around();
  } else {
    serve_batch_within_budget();
  }
}

void Runtime::serve_batch_within_budget() {
  TurnBudget budget;
  struct Serving {
    Runtime& runtime;
    TurnBudget* const outer;  // of the turn in which user code iterates the loop
    Serving(Runtime& serving, TurnBudget& own) : runtime(serving), outer(std::exchange(serving.budget_, &own)) {}
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() { runtime.budget_ = outer; }
  } const serving(*this, budget);
  if (due_ & kMoved) arrived();
  // Something was left, so this turn is the one that was due at once, also if a descriptor's up-call came first. A host
  // under whose priorities the deadline waits would otherwise keep the timers waiting.
  if (deadline_.is_at_once()) due_ |= kTimers;
  unsigned kind = std::exchange(first_kind_, unsigned{kDueTimers});
  for (unsigned left = kKinds; left > 0; --left) {
    serve_kind(kind);
    kind = (kind + 1) % kKinds;
    if (budget.spent()) {
      first_kind_ = kind;
      due_ |= kArm;
      return;
    }
  }
}

inline void Runtime::serve_kind(unsigned kind) {
  switch (kind) {
    case kDueTimers:
      if (due_ & kTimers) serve_timers();
      break;
    case kReadySources:
      serve_ready_within_budget();
      break;
    case kDeferredCalls:
      if (due_ & kDeferred && !turn_is_over()) serve_deferred();
      break;
    default:
      if (due_ & kTasks && !turn_is_over()) serve_tasks();
  }
}

/// What an exception leaves behind is served in the next turn.
[[gnu::always_inline]] inline void Runtime::serve_sources() {
  serve_ready();
  if (due_ & (kDeferred | kTasks)) serve_due();
}

void Runtime::serve_due() {
  if (due_ & kDeferred && !turn_is_over()) serve_deferred();
  if (due_ & kTasks && !turn_is_over()) serve_tasks();
}

/// If the turn ends in them, by a move or with its budget, those that are left come before any that has become due
/// since, and alone: so however often timers end a turn, the rest of it has its turn.
void Runtime::serve_timers() {
  due_ &= static_cast<std::uint8_t>(~kTimers);
  const bool rest = std::exchange(timers_left_, false);
  const std::uint64_t now = rest ? left_now_ : now_ns();
  const std::uint64_t mark = rest ? left_mark_ : timers_.mark();  // timers set from here on belong to a later turn
  if (budget_ && !rest) budget_->begin(now);
  if (!signals_.empty()) SignalSubscription::look_after_all();
  while (!turn_is_over()) {
    TimerNode* timer = timers_.take_due(now, mark);
    if (!timer) return;
    timer->on_due();
    if (budget_is_spent()) break;
  }
  if (alive()) due_ |= kTimers;
  timers_left_ = true;
  left_now_ = now;
  left_mark_ = mark;
}

inline void Runtime::serve_next(Source& source) {
  ready_head_ = source.next_ready_;
  if (!ready_head_) ready_end_ = &ready_head_;
  source.queued_ = false;
  deliver(source, source.ready_);
}

inline void Runtime::serve_ready() {
  while (Source* source = ready_head_) serve_next(*source);
}

/// What is left then stays in the list, and makes the next turn due at once. Most turns are short, so it looks at the
/// clock after the first source and then after every few.
void Runtime::serve_ready_within_budget() {
  constexpr unsigned kEach = 4;
  if (ready_head_ && ready_head_->next_ready_) budget_->begin();
  for (unsigned served = 0; Source* source = ready_head_; ++served) {
    serve_next(*source);
    if (!ready_head_) return;
    if (served % kEach == 0 && budget_->look()) break;
  }
  due_ |= kArm;
}

inline void Runtime::deliver(Source& source, std::uint32_t readiness) {
  if (source.busy_ || (readiness & ~source.wanted_)) {
    readiness = deliverable(source, readiness);
    if (readiness == 0) return;
  }
  source.busy_ = true;
  try {
    source.on_ready(readiness);
  } catch (...) {
    blame(source);
    source.leave_busy();
    throw;
  }
  source.leave_busy();
}

/// The rare cases. READ that was wanted no more is dropped now. And while user code of a source iterates the loop,
/// nothing of it is wanted, so that the loop does not spin.
std::uint32_t Runtime::deliverable(Source& source, std::uint32_t readiness) noexcept {
  if (source.fd_ < 0) {  // unwatched while it was queued
    if (!source.busy_) source.do_postponed();
    return ONLOOP_NONE;
  }
  const std::uint32_t kept = source.busy_ ? ONLOOP_NONE : source.wanted_;
  if (source.busy_) source.postponed_ |= Source::kInterest;
  if (source.set_ != kept) {
    if (const int error = host_->watch_set(source.watch_, kept); error >= 0) {
      source.set_ = static_cast<std::uint8_t>(kept);
    } else if (!source.busy_) {  // a busy one is asked about again at its next event
      source.on_watch_error(error_of(error));
      if (!source.runtime_ || source.fd_ < 0) return ONLOOP_NONE;
    }
  }
  return readiness & kept;
}

void Runtime::serve_deferred() {
  struct Rest {
    Runtime& runtime;
    ~Rest() {
      if (!runtime.deferred_head_) runtime.due_ &= static_cast<std::uint8_t>(~kDeferred);
    }
  } const rest{*this};
  for (std::size_t left = deferred_count_; left > 0 && deferred_head_ && !turn_is_over(); --left) {
    const Held<Source> held = std::move(deferred_head_);
    Source& source = *held;
    deferred_head_ = std::move(source.next_deferred_);
    --deferred_count_;
    source.deferred_ = false;
    if (!source.runtime_) continue;
    if (source.busy_) {
      source.postponed_ |= Source::kDeferred;
      continue;
    }
    {
      const Source::Busy busy(source);
      try {
        source.on_deferred();
      } catch (...) {
        blame(source);
        throw;
      }
    }
    if (budget_is_spent()) break;
  }
}

void Runtime::serve_tasks() {
  due_ &= static_cast<std::uint8_t>(~kTasks);
  struct Rest {
    Runtime& runtime;
    ~Rest() {
      if (runtime.wake_due_ || runtime.signals_due_ || !runtime.tasks_.empty()) runtime.due_ |= kTasks;
    }
  } const rest{*this};
  std::size_t left = tasks_.size();
  if (std::exchange(wake_due_, false) && options_.on_wake && alive()) options_.on_wake();
  if (signals_due_ && !turn_is_over()) serve_signals();
  for (; left > 0 && !turn_is_over() && !tasks_.empty(); --left) {
    if (tasks_.front().counted) mailbox_->done_with_one();
    Task task = std::move(tasks_.front().task);
    tasks_.pop_front();
    task();
    if (budget_is_spent()) break;
  }
}

/// In the order in which they were set. When a turn ends in them, the next one goes on where it was. What a callback
/// leaves by an exception, or by a move, is due in the next turn.
void Runtime::serve_signals() {
  struct Serving {
    Runtime& runtime;
    explicit Serving(Runtime& serving) : runtime(serving) { ++runtime.serving_signals_; }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() {
      if (--runtime.serving_signals_ == 0) std::erase(runtime.signals_, nullptr);
      runtime.signals_due_ = std::any_of(runtime.signals_.begin(), runtime.signals_.end(),
                                         [](const SignalEntry* entry) { return entry && entry->due; });
    }
  } const serving{*this};
  std::size_t i = std::exchange(first_signal_, 0);
  for (std::size_t left = signals_.size(); left > 0 && !signals_.empty() && !turn_is_over(); --left, ++i) {
    if (i >= signals_.size()) i = 0;
    SignalEntry* entry = signals_[i];
    if (!entry || !entry->due) continue;
    entry->due = false;
    entry->call();
    if (!budget_is_spent()) continue;
    first_signal_ = i + 1;
    return;
  }
}

void Runtime::blame(Source& source) noexcept {
  if (!blamed_) blamed_ = Held<Source>(source);
}

void Runtime::clear_blame() noexcept {
  blamed_ = nullptr;
}

}  // namespace onloop::detail
