#pragma once
#include <onloop/context.hpp>

#include <exception>
#include <memory>
#include <string_view>

#include "core/base/counted.hpp"
#include "core/base/process_mark.hpp"
#include "core/runtime/attachments.hpp"
#include "core/runtime/cutover_history.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/mailbox.hpp"
#include "core/runtime/source_table.hpp"
#include "core/runtime/subsystem.hpp"
#include "core/runtime/thread_binding.hpp"
#include "core/runtime/turn.hpp"
#include "core/runtime/waker.hpp"

namespace onloop::detail {

/// The implementation of a Context: sources, timers and tasks on one loop. A Turn serves them. Upcalls cause the turns.
///
/// The Context and each frame that uses a Runtime share its ownership. When the Context is destroyed, alive() turns
/// false, and every frame on the stack returns as soon as it can.
///
/// Thread: the context's. Other threads use the mailbox.
class Runtime final : public Counted {
 public:
  Runtime(Context& facade, const Loop& loop, ContextOptions options);

  // ---- the context's life ----
  /// Ends everything and detaches from the loop. ~Context calls it.
  void shutdown() noexcept;
  [[nodiscard]] bool alive() const noexcept { return attachments_.attached(); }
  /// True from the beginning of the context's destruction.
  [[nodiscard]] bool ending() const noexcept { return ending_; }
  /// True in a forked child before after_fork().
  [[nodiscard]] bool forked() const noexcept { return this_process() != process_; }
  [[nodiscard]] Context& facade() noexcept { return facade_; }
  [[nodiscard]] const ContextOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Loop& loop() const noexcept { return attachments_.driven().loop(); }
  /// The subsystem of this kind. It is made at the first call.
  template <class T>
  [[nodiscard]] T& subsystem() {
    return subsystems_.find_or_make<T>(*this);
  }
  /// As subsystem(), but null if there is none.
  template <class T>
  [[nodiscard]] T* find_subsystem() const noexcept {
    return subsystems_.find<T>();
  }

  // ---- from loop to loop: cutover.cpp ----
  bool move_to(const Loop& loop);
  void after_fork(const Loop& loop);
  [[nodiscard]] std::uint64_t cutovers() const noexcept { return cutover_history_.count(); }
  [[nodiscard]] std::uint64_t last_stall() const noexcept { return cutover_history_.last_stall(); }

  // ---- threads ----
  /// Throws EPERM if the context is bound to another thread.
  void check_thread() const { thread_.check(); }
  /// Aborts with a message instead. It is for destructors, which can't throw. It does nothing in a forked child.
  void check_thread_or_die() const noexcept;
  void release_thread() noexcept { thread_.release(); }
  /// How many calls into this context by a loop, run() or dispatch() are on the stack.
  [[nodiscard]] unsigned frames() const noexcept { return thread_.frames(); }
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const noexcept { return mailbox_; }

  // ---- running: run.cpp ----
  void run();
  void stop() noexcept;
  void set_keepalive(bool on) noexcept;
  [[nodiscard]] int fd();
  void dispatch();
  [[nodiscard]] Turn& turn() noexcept { return turn_; }
  /// True if the context was destroyed in this turn, or has moved to a loop that serves the rest.
  [[nodiscard]] bool turn_is_over() const noexcept { return !alive() || turn_.due().any(Due::kMoved); }
  /// True if the application has waited long enough for the end of this turn. Code that calls user code in a loop must
  /// ask after each call, and then leave the rest for the next turn.
  [[nodiscard]] bool budget_is_spent() noexcept { return turn_.budget_is_spent(); }
  void deadline_fired() noexcept;

  // ---- sources ----
  [[nodiscard]] SourceTable& sources() noexcept { return sources_; }
  /// Calls source.on_deferred() later in this turn or in the next turn, and never before defer() returns.
  void defer(Source& source) noexcept;
  /// Notes that the callback of `source` has thrown. If nobody handles the exception, the first such source is aborted.
  void blame(Source& source) noexcept;

  // ---- timers and tasks ----
  /// Throws std::system_error if the loop can't take the deadline. Then the timer is not set.
  void schedule(TimerNode& timer, std::uint64_t at);
  void cancel(TimerNode& timer) noexcept;
  void post(Task task);

  /// Passes the error to ContextOptions::on_error. Without one, it becomes a line on standard error.
  void report(std::error_code error, std::string_view what) noexcept;

 private:
  friend class Cutover;
  friend class SourceTable;
  friend class Turn;
  friend class Upcalls;
  class Collecting;

  void refuse_forked() const;
  void run_driven();
  void run_ended() noexcept;
  void stop_driven() noexcept;
  template <class Serve>
  void turns(Serve serve);
  void serve_within_budget();
  void serve_set() noexcept;
  void serve_upcall() noexcept;
  void caught(const std::exception_ptr& exception, bool in_run) noexcept;
  void announce_rest() noexcept;
  int arm() noexcept;
  void arm_if_due() noexcept;
  void deadline_changed() noexcept;

  Context& facade_;
  ContextOptions options_;
  ThreadBinding thread_;
  ProcessMark process_ = this_process();
  Attachments attachments_;
  SourceTable sources_{*this};
  Turn turn_{*this};
  std::shared_ptr<Mailbox> mailbox_;
  Waker waker_{*this};
  Deadline deadline_{*this};
  Subsystems subsystems_;
  CutoverHistory cutover_history_;
  Held<Source> blamed_;         // the source whose callback threw
  std::exception_ptr escaped_;  // by a callback under the loop's `run` slot, for run() to throw
  bool ending_ = false;
  bool running_ = false;  // run() is on the stack
  bool stop_ = false;     // stop() was called during this run()
  bool keepalive_ = true;
  bool collecting_ = false;        // up-calls serve nothing
  bool arms_before_wait_ = false;  // run() sets the deadline before each wait
  bool deadline_failed_ = false;   // to set it has failed, and the loop was woken
  bool fd_given_ = false;          // the application may watch our descriptor
};

}  // namespace onloop::detail
