#pragma once
#include <onloop/task.hpp>

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>

#include "core/node/handle_state.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {
class Context;
}

namespace onloop::detail {

class ImmediateState;

/// Node's queues and phases on one context.
///
/// A turn of the runtime serves its timers and its I/O in the order that Node has, too. The phases that follow, the
/// immediates and 'close', are one task: check(). It is posted whenever it has something to do.
///
/// The Runtime of the context owns it. Every call is for the context's thread.
class Phases final : public Subsystem {
 public:
  /// @return The Phases of the context. The first call makes it.
  /// @throws std::system_error with EPERM on another thread than the context's.
  static Phases& of(Context& context);
  explicit Phases(Runtime& runtime);
  void sever() noexcept override;
  void after_fork() noexcept override {}  // the child has all of it in its memory
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }

  /// Runs `callback` as a callback of the layer: the queues are emptied before and after it. If a queued task destroys
  /// the context, `callback` is not called. Inside another callback of the layer, `callback` only becomes a part of
  /// that callback.
  template <class F>
  void call(F&& callback) {
    if (in_callback()) {
      callback();
      return;
    }
    const Held<Runtime> held(runtime_);
    const Frame frame(*this);
    was_kept_ = was_kept_ || kept();
    settle();
    if (severed_) return;
    callback();
    drain();
  }

  void next_tick(Task task);
  void queue_microtask(Task task);
  /// Queues `immediate` for the immediates of this turn, or of the next turn if those of this turn run already.
  void add_immediate(std::shared_ptr<ImmediateState> immediate);
  /// Runs `task` in the close phase of this turn.
  void queue_close(Task task);

 private:
  friend class HandleState;

  /// Exists while a callback of the layer runs. Callbacks can be nested in two ways, and the number of the runtime's
  /// frames tells them apart. If the number is the same, the application has called one callback inside another. If the
  /// number is higher, the application iterates the loop inside a callback.
  class Frame {
   public:
    explicit Frame(Phases& phases) noexcept
        : phases_(phases), outer_(std::exchange(phases.frame_, phases.runtime_.frames())) {}
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    ~Frame() {
      phases_.frame_ = outer_;
      if (phases_.queued() && !phases_.in_callback()) phases_.schedule();
    }

   private:
    Phases& phases_;
    const unsigned outer_;
  };
  static constexpr unsigned kNoFrame = UINT32_MAX;

  [[nodiscard]] bool in_callback() const noexcept { return frame_ == runtime_.frames(); }
  /// @return True if there are ticks or microtasks.
  [[nodiscard]] bool queued() const noexcept { return !ticks_.empty() || !microtasks_.empty(); }
  /// @return True if check() has something to do apart from immediates.
  [[nodiscard]] bool pending() const noexcept { return queued() || !closings_.empty() || !thrown_.empty(); }
  /// @return True if the layer must keep run() from returning.
  [[nodiscard]] bool kept() const noexcept { return references_ > 0 || pending(); }
  void drain();
  /// Runs the tasks of one queue until it is empty.
  void drain_all(std::deque<Task>& queue);
  void settle();
  /// Calls `callback`, and keeps its exception in thrown_. If the context is gone, the exception leaves at once.
  template <class F>
  void collect(F&& callback);
  /// Posts check() unless it is posted already. If something is pending, keeps run() from returning.
  void schedule();
  /// The posted task: the queues, the immediates, 'close', and one of the exceptions.
  void check();
  void run_immediates();
  /// Runs the tasks that queue_close() got before this phase.
  void run_closings();
  void checked();
  /// Tells the runtime whether the layer keeps run() from returning. If so, waiting immediates run, too.
  void keep(bool on);

  Runtime& runtime_;
  std::deque<Task> ticks_;
  std::deque<Task> microtasks_;
  std::deque<std::shared_ptr<ImmediateState>> immediates_;
  std::deque<Task> closings_;
  std::deque<std::exception_ptr> thrown_;  // one of them leaves at the end of each turn
  HandleState* handles_ = nullptr;         // the list of all states, active or not
  std::size_t references_ = 0;             // the number of states that are active and referenced
  std::uint64_t immediate_order_ = 0;      // the number of immediates that were set
  unsigned frame_ = kNoFrame;              // the runtime's frame in which the innermost callback runs
  bool was_kept_ = false;                  // kept() was true when a callback of this turn began
  bool posted_ = false;                    // check() is posted
  bool keeps_ = true;                      // the last argument of keep()
  bool severed_ = false;
};

}  // namespace onloop::detail
