#pragma once
#include <onloop/context.hpp>

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/counted.hpp"
#include "core/base/process_mark.hpp"
#include "core/base/thread_id.hpp"
#include "core/loop/loop_attachment.hpp"
#include "core/loop/set_attachment.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/mailbox.hpp"
#include "core/runtime/source.hpp"
#include "core/runtime/timer_heap.hpp"
#include "core/runtime/turn_budget.hpp"

namespace onloop::detail {

class SignalEntry;

/// What an upper layer keeps in a context, one of its kind. Severed first when the context goes, the last made first;
/// its memory stays for the frames that use it.
class Subsystem {
 public:
  Subsystem() noexcept = default;
  Subsystem(const Subsystem&) = delete;
  Subsystem& operator=(const Subsystem&) = delete;
  virtual ~Subsystem() = default;
  /// Takes everything of it out of the runtime, silently.
  virtual void sever() noexcept = 0;
  /// In a forked child, when the context is on a loop of the child's.
  virtual void after_fork() noexcept = 0;
};

/// The engine behind a Context: sources, timers and tasks on one loop, served in turns.
///
/// How a turn goes. Up-calls of a loop that the runtime itself drives (its `turn` slot) only collect what is ready;
/// when the slot has returned, the batch is served: due timers, sources, deferred work, tasks. So no frame of the loop
/// is on the stack while user code runs, and the order is the same on every such loop. An up-call from a loop that
/// somebody else drives is served at once, as a turn of its own. Either may nest, if user code iterates the loop.
///
/// Where an application waits for its end, a turn has a budget of time (TurnBudget). When that is spent, the turn ends
/// after the callback that is running. What is left makes the next turn due at once, and that turn begins with the kind
/// of work that follows the one in which the last turn ended. So each kind gets its share, and keeps its own order.
///
/// Its owners are the Context and each frame that uses it. When the Context is destroyed, alive() turns false and every
/// frame on the stack winds up.
class Runtime final : public Counted {
 public:
  Runtime(Context& facade, const Loop& loop, ContextOptions options);

  // ---- the context's life ----
  void shutdown() noexcept;  // ~Context
  [[nodiscard]] bool alive() const noexcept { return host_ != nullptr; }
  /// The context is being destroyed, or has been.
  [[nodiscard]] bool ending() const noexcept { return ending_; }
  [[nodiscard]] Context& facade() noexcept { return facade_; }
  [[nodiscard]] const ContextOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Loop& loop() const noexcept { return driver_->loop(); }
  [[nodiscard]] bool forked() const noexcept;

  // ---- from loop to loop: cutover.cpp ----
  bool move_to(const Loop& loop);
  void after_fork(const Loop& loop);
  [[nodiscard]] std::uint64_t cutovers() const noexcept { return cutovers_; }
  /// Nanoseconds from the last move_to() to the first turn on the loop that it led to.
  [[nodiscard]] std::uint64_t last_stall() const noexcept { return last_stall_; }
  /// The context was destroyed in this turn, or has moved to another loop, where the rest of it comes.
  [[nodiscard]] bool turn_is_over() const noexcept { return !alive() || (due_ & kMoved); }
  /// An application waits for the end of this turn, and has waited long enough: who calls user code in a loop leaves
  /// the rest for the next turn. To be asked after a piece of work, so that each turn gets on.
  [[nodiscard]] bool budget_is_spent() noexcept { return budget_ && budget_->look(); }
  /// How many frames of ours are on the stack: one more in each nested iteration of the loop.
  [[nodiscard]] unsigned frames() const noexcept { return frames_; }

  // ---- threads ----
  void check_thread() const {
    if (owner_.load(std::memory_order_relaxed) != this_thread()) refuse_other_thread();
  }
  /// For destructors, which can't throw: ends the process with words.
  void check_thread_or_die() const noexcept;
  void release_thread() noexcept { owner_.store(nullptr, std::memory_order_relaxed); }
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const noexcept { return mailbox_; }

  // ---- running ----
  void run();
  void stop() noexcept;
  void set_keepalive(bool on) noexcept;
  [[nodiscard]] int fd();
  void dispatch();

  // ---- sources ----
  /// Watches `fd` for `source`. Whatever else is watched under this number is stale: the caller has either just got the
  /// descriptor from the kernel, or asked refuse_if_watched(). Throws std::system_error that begins with `what`.
  void watch(Source& source, int fd, std::uint32_t interest, std::string_view what);
  /// For a descriptor of the application's. Throws EEXIST if a source watches that file already.
  void refuse_if_watched(int fd, std::string_view what) const;
  /// Null if none watches that number.
  [[nodiscard]] Source* source_of(int fd) const noexcept {
    const auto slot = static_cast<std::size_t>(fd);
    return slot < sources_.size() ? sources_[slot] : nullptr;
  }
  /// Ends a stale watch of that number and reports it. False if the source can't do without the number.
  bool vacate(int fd) noexcept;
  /// Sets what `source` wants. READ that is wanted no more leaves the loop lazily, at its next event: most pauses are
  /// short, and removing and adding again costs more than two changes.
  [[nodiscard]] std::error_code want(Source& source, std::uint32_t interest) noexcept;
  /// Before its descriptor is closed. Harmless if there is no watch.
  void unwatch(Source& source) noexcept;
  /// Calls source.on_deferred() later in this turn, or in the next: never from within the call that defers.
  void defer(Source& source) noexcept;

  // ---- timers and tasks ----
  /// Throws std::system_error if the loop can't take the deadline; then the timer is not set.
  void schedule(TimerNode& timer, std::uint64_t at);
  void cancel(TimerNode& timer) noexcept;
  void post(Task task);
  void add_signal(SignalEntry& entry) { signals_.push_back(&entry); }
  void remove_signal(SignalEntry& entry) noexcept;

  /// ContextOptions::on_error, or a line on standard error.
  void report(std::error_code error, std::string_view what) noexcept;

  /// User code has thrown while it was called for `source`, which is aborted if nobody catches. The first blame counts.
  void blame(Source& source) noexcept;

  // ---- what upper layers keep here ----
  /// Made when first asked for.
  template <class T>
  [[nodiscard]] T& subsystem() {
    if (T* there = find_subsystem<T>()) return *there;
    subsystems_.push_back(std::make_unique<T>(*this));
    return static_cast<T&>(*subsystems_.back());
  }
  template <class T>
  [[nodiscard]] T* find_subsystem() const noexcept {
    for (const auto& subsystem : subsystems_) {
      if (T* found = dynamic_cast<T*>(subsystem.get())) return found;
    }
    return nullptr;
  }

 private:
  class Waker final : public Source {
   public:
    explicit Waker(Runtime& runtime) noexcept : Source(runtime) {}

   private:
    void on_ready(std::uint32_t) override;
    void sever() noexcept override;
  };
  friend class Source;
  class Cutover;

  /// While one of these lives, code of ours is on the stack, called by a loop or by run() and dispatch(). When the last
  /// goes, a move that came meanwhile ends: the thread is let go.
  class Frame {
   public:
    explicit Frame(Runtime& runtime) noexcept : runtime_(runtime) { ++runtime_.frames_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    ~Frame() {
      if (--runtime_.frames_ == 0 && runtime_.thread_free_) runtime_.free_thread();
    }

   private:
    Runtime& runtime_;
  };

  [[nodiscard]] onloop_guest guest() noexcept;
  [[nodiscard]] onloop_guest outer_guest() noexcept;
  [[nodiscard]] std::unique_ptr<LoopAttachment> attach_loop(const Loop& loop);
  [[nodiscard]] std::unique_ptr<SetAttachment> attach_set(const Loop& loop, LoopAttachment& set);
  [[nodiscard]] bool other_thread() const noexcept {
    const ThreadId owner = owner_.load(std::memory_order_relaxed);
    return owner && owner != this_thread();
  }
  void bind_thread() noexcept { owner_.store(this_thread(), std::memory_order_relaxed); }
  [[gnu::noinline]] void refuse_other_thread() const;  // unless it is bound to none
  void refuse_forked() const;
  void abandon() noexcept;
  void forget_ready() noexcept;
  void free_thread() noexcept;
  void run_driver();
  void stop_driver() noexcept;

  // up-calls
  static void on_ready(void* source, std::uint32_t readiness);
  static void on_deadline(void* runtime);
  static void on_set_ready(void* runtime, std::uint32_t readiness);
  [[gnu::noinline]] void on_ready_slow(Source& source, std::uint32_t readiness) noexcept;
  void collect(Source& source, std::uint32_t readiness) noexcept;
  void enter_upcall() noexcept;
  [[gnu::noinline]] void serve_upcall() noexcept;
  [[gnu::noinline]] void deadline_fired() noexcept;
  void caught(const std::exception_ptr& exception, bool in_run) noexcept;
  void clear_blame() noexcept;

  class Collecting;

  // one turn; what is rare stays out of line, so that the way of a message is short
  void turn(std::int64_t max_wait_ns);
  [[noreturn]] static void turn_failed(int error);
  void turns();
  void one_turn();
  void serve();
  [[gnu::noinline]] void arrived() noexcept;
  [[gnu::noinline]] void serve_due();
  [[gnu::noinline]] void serve_around();
  void serve_within_budget();
  void serve_batch_within_budget();
  void serve_sources();
  void serve_kind(unsigned kind);
  [[gnu::noinline]] void serve_timers();
  void serve_ready();
  void serve_ready_within_budget();
  void serve_next(Source& source);
  [[gnu::noinline]] void serve_deferred();
  [[gnu::noinline]] void serve_tasks();
  void serve_signals();
  void deliver(Source& source, std::uint32_t readiness);
  [[gnu::noinline]] std::uint32_t deliverable(Source& source, std::uint32_t readiness) noexcept;

  [[gnu::noinline]] void announce_rest() noexcept;
  /// Tells the loop the next deadline, if it may have changed.
  int arm() noexcept;
  void arm_or_report() noexcept {
    if (due_ & kArm) report_deadline(arm());
  }
  [[gnu::noinline]] void report_deadline(int error) noexcept;
  /// The next deadline may have changed.
  void deadline_changed() noexcept;

  Context& facade_;
  ContextOptions options_;
  unsigned frames_ = 0;
  std::atomic<ThreadId> owner_{nullptr};  // null: not bound
  std::unique_ptr<LoopAttachment>
      host_;  // watches the sources: the loop itself, or a native set under aggregate hosting
  std::unique_ptr<SetAttachment> outer_;  // then this is the loop, which watches the set
  LoopAttachment* driver_;                // the loop that is run: host_ or outer_'s
  ProcessMark process_;
  std::vector<Source*> sources_;  // by descriptor
  TimerHeap timers_;
  struct Posted {
    Task task;
    bool counted;  // by the mailbox
  };
  std::deque<Posted> tasks_;
  std::vector<SignalEntry*> signals_;  // null: cancelled while they were being called
  Source* ready_head_ = nullptr;       // a nested turn goes on with it where the outer one is
  Source** ready_end_ = &ready_head_;
  Held<Source> deferred_head_;
  Source* deferred_tail_ = nullptr;
  std::size_t deferred_count_ = 0;
  std::vector<std::unique_ptr<Subsystem>> subsystems_;
  std::shared_ptr<Mailbox> mailbox_;
  Waker waker_;
  Deadline deadline_;
  Held<Source> blamed_;         // whose callback threw
  std::exception_ptr escaped_;  // from a callback under the loop's own run call
  /// What a turn has to look at besides the sources, so that most turns look at nothing.
  enum Due : std::uint8_t {
    kTimers = 1,      // the deadline has passed
    kDeferred = 2,    // deferred_head_
    kTasks = 4,       // tasks_, wake_due_ or signals_due_
    kArm = 8,         // the next deadline may have changed
    kLeave = 16,      // run() is to return: stop_, or no keepalive_, or the context is gone
    kAround = 32,     // always, if there is a ContextOptions::around
    kMoved = 64,      // to a loop that has not had a turn yet
    kSwitched = 128,  // run() drives another loop from here on, or this one again
  };
  std::uint8_t due_ = 0;
  bool arms_each_turn_ = false;  // run() sets the deadline before each wait, so that nobody else need
  bool collecting_ = false;
  bool wake_due_ = false;
  bool signals_due_ = false;
  unsigned serving_signals_ = 0;  // frames that do
  bool ending_ = false;
  bool running_ = false;
  bool stop_ = false;
  bool keepalive_ = true;
  bool deadline_failed_ = false;
  bool fd_given_ = false;         // the application may watch our descriptor, edge-triggered too
  bool thread_free_ = false;      // as soon as no frame is left
  bool timers_left_ = false;      // of a turn that has ended in them: due at left_now_, and set before left_mark_
  unsigned first_kind_ = 0;       // of work, in the next turn that has a budget
  TurnBudget* budget_ = nullptr;  // of the turn that is on the stack; null where nobody waits
  std::size_t first_signal_ = 0;  // where serve_signals() goes on
  std::uint64_t left_now_ = 0;
  std::uint64_t left_mark_ = 0;
  std::uint64_t cutovers_ = 0;
  std::uint64_t moved_at_ = 0;
  std::uint64_t last_stall_ = 0;
};

}  // namespace onloop::detail
