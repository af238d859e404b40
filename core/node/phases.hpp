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

/// Node's queues and phases on one context. A turn of the runtime has its timers and its I/O in the order that is
/// wanted; the phases after them are one task, check(), which is posted whenever there is something for it.
class Phases final : public Subsystem {
 public:
  /// The context's, made when first asked for. Throws EPERM on another thread than the context's.
  static Phases& of(Context& context);
  explicit Phases(Runtime& runtime);
  void sever() noexcept override;
  void after_fork() noexcept override {}  // all of it is in memory
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }

  /// Runs `callback` as one of the layer's: the queues are emptied before and after it. It is not called if the context
  /// is destroyed by what is queued.
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
  void add_immediate(std::shared_ptr<ImmediateState> immediate);
  /// Runs `task` in the close phase of this turn.
  void queue_close(Task task);

 private:
  friend class HandleState;

  /// One callback of the layer. Nested ones are told apart by the frames of the runtime: in the same frame the user has
  /// called one inside another, in a further frame he has iterated the loop.
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
  [[nodiscard]] bool queued() const noexcept { return !ticks_.empty() || !microtasks_.empty(); }
  [[nodiscard]] bool pending() const noexcept { return queued() || !closings_.empty() || !thrown_.empty(); }
  [[nodiscard]] bool kept() const noexcept { return references_ > 0 || pending(); }
  void drain();
  void drain_all(std::deque<Task>& queue);
  void settle();
  template <class F>
  void collect(F&& callback);
  void schedule();
  void check();
  void run_immediates();
  void run_closings();
  void checked();
  void keep(bool on);

  Runtime& runtime_;
  std::deque<Task> ticks_;
  std::deque<Task> microtasks_;
  std::deque<std::shared_ptr<ImmediateState>> immediates_;
  std::deque<Task> closings_;
  std::deque<std::exception_ptr> thrown_;  // leave at the ends of turns, one each
  HandleState* handles_ = nullptr;         // all that there are, active or not
  std::size_t references_ = 0;             // the active ones that are referenced
  std::uint64_t immediate_order_ = 0;
  unsigned frame_ = kNoFrame;  // the runtime's frame in which the innermost callback is
  bool was_kept_ = false;      // when a callback of this turn began
  bool posted_ = false;        // check()
  bool keeps_ = true;          // what the runtime was told
  bool severed_ = false;
};

}  // namespace onloop::detail
