#pragma once
#include <onloop/context.hpp>

#include <exception>
#include <memory>
#include <string_view>
#include <vector>

#include "core/base/counted.hpp"
#include "core/base/process_mark.hpp"
#include "core/runtime/attachments.hpp"
#include "core/runtime/cutover_history.hpp"
#include "core/runtime/deadline.hpp"
#include "core/runtime/mailbox.hpp"
#include "core/runtime/subsystem.hpp"
#include "core/runtime/thread_binding.hpp"
#include "core/runtime/turn.hpp"
#include "core/runtime/waker.hpp"

namespace onloop::detail {

/// The engine behind a Context: sources, timers and tasks on one loop, served in turns (Turn), which the up-calls of
/// the loop bring about (Upcalls).
///
/// The Context and each frame that uses a Runtime own it. When the Context is destroyed, alive() turns false and every
/// frame on the stack winds up.
class Runtime final : public Counted {
 public:
  Runtime(Context& facade, const Loop& loop, ContextOptions options);

  // ---- the context's life ----
  void shutdown() noexcept;  // ~Context
  [[nodiscard]] bool alive() const noexcept { return attachments_.attached(); }
  /// The context is being destroyed, or has been.
  [[nodiscard]] bool ending() const noexcept { return ending_; }
  [[nodiscard]] bool forked() const noexcept { return this_process() != process_; }
  [[nodiscard]] Context& facade() noexcept { return facade_; }
  [[nodiscard]] const ContextOptions& options() const noexcept { return options_; }
  [[nodiscard]] const Loop& loop() const noexcept { return attachments_.driven().loop(); }
  template <class T>
  [[nodiscard]] T& subsystem() {
    return subsystems_.find_or_make<T>(*this);
  }
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
  void check_thread() const { thread_.check(); }
  /// For destructors, which can't throw: logs the reason and aborts.
  void check_thread_or_die() const noexcept;
  void release_thread() noexcept { thread_.release(); }
  [[nodiscard]] unsigned frames() const noexcept { return thread_.frames(); }
  [[nodiscard]] const std::shared_ptr<Mailbox>& mailbox() const noexcept { return mailbox_; }

  // ---- running: run.cpp ----
  void run();
  void stop() noexcept;
  void set_keepalive(bool on) noexcept;
  [[nodiscard]] int fd();
  void dispatch();
  [[nodiscard]] Turn& turn() noexcept { return turn_; }
  /// The context was destroyed in this turn, or has moved to another loop, which serves the rest.
  [[nodiscard]] bool turn_is_over() const noexcept { return !alive() || turn_.due().any(Due::kMoved); }
  /// The application has waited long enough for the end of this turn. Whoever calls user code repeatedly must ask after
  /// each call, and leave the rest for the next turn.
  [[nodiscard]] bool budget_is_spent() noexcept { return turn_.budget_is_spent(); }
  /// The moment has come that was set as the deadline.
  void deadline_fired() noexcept;

  // ---- sources ----
  /// Watches `fd` for `source`. The caller has just got it from the kernel, or has asked refuse_if_watched(): whatever
  /// else is watched under this number is stale. Throws std::system_error that begins with `what`.
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
  /// READ that is wanted no more leaves the loop at its next event only, since most pauses are short.
  [[nodiscard]] std::error_code want(Source& source, std::uint32_t interest) noexcept;
  /// The caller must do this before it closes the descriptor. Harmless without a watch.
  void unwatch(Source& source) noexcept;
  /// Calls source.on_deferred() later in this turn, or in the next: never from within the call that defers.
  void defer(Source& source) noexcept;
  /// User code has thrown that was called for `source`. If nobody catches, the first source that was blamed is aborted.
  void blame(Source& source) noexcept;

  // ---- timers and tasks ----
  /// Throws std::system_error if the loop can't take the deadline. Then the timer is not set.
  void schedule(TimerNode& timer, std::uint64_t at);
  void cancel(TimerNode& timer) noexcept;
  void post(Task task);

  /// To ContextOptions::on_error, or as a line on standard error.
  void report(std::error_code error, std::string_view what) noexcept;

 private:
  friend class Cutover;
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
  std::vector<Source*> sources_;  // by descriptor
  Turn turn_{*this};
  std::shared_ptr<Mailbox> mailbox_;
  Waker waker_{*this};
  Deadline deadline_{*this};
  Subsystems subsystems_;
  CutoverHistory cutover_history_;
  Held<Source> blamed_;         // whose callback threw
  std::exception_ptr escaped_;  // from a callback under the loop's own run call
  bool ending_ = false;
  bool running_ = false;
  bool stop_ = false;
  bool keepalive_ = true;
  bool collecting_ = false;        // up-calls only collect
  bool arms_before_wait_ = false;  // run() sets the deadline before each wait, so nobody else need
  bool deadline_failed_ = false;
  bool fd_given_ = false;  // the application may watch our descriptor, edge-triggered too
};

}  // namespace onloop::detail
