#pragma once
#include <atomic>

#include "core/base/thread_id.hpp"

namespace onloop::detail {

/// Which thread a context is bound to: the one that runs it, or none.
class ThreadBinding {
 public:
  static constexpr const char* kWrongThread =
      "a context was used from another thread than the one that runs it; use a Remote, or release_thread() first";

  /// While a Frame lives, code of ours is on the stack, called by a loop, by run() or by dispatch(). User code that
  /// iterates the loop in a callback makes a further Frame.
  class Frame {
   public:
    explicit Frame(ThreadBinding& binding) noexcept : binding_(binding) { ++binding_.frames_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    ~Frame() {
      if (--binding_.frames_ == 0 && binding_.release_is_due_) binding_.release_after_frames();
    }

   private:
    ThreadBinding& binding_;
  };

  /// Binds the context to this thread.
  void bind() noexcept { owner_.store(this_thread(), std::memory_order_relaxed); }
  /// Binds the context to the thread on which a loop calls it. The loop must not change its thread.
  void bind_in_upcall() noexcept {
    if (is_other()) die_of_other_thread();
    bind();
  }
  void release() noexcept { owner_.store(nullptr, std::memory_order_relaxed); }
  /// Releases the thread as soon as no Frame lives, which may be now.
  void release_after_frames() noexcept {
    release_is_due_ = frames_ != 0;
    if (!release_is_due_) release();
  }

  /// Throws std::system_error (EPERM) if the context is bound to another thread.
  void check() const {
    const ThreadId owner = owner_.load(std::memory_order_relaxed);
    if (owner != this_thread()) refuse_other_thread(owner);
  }
  /// The context is bound to another thread.
  [[nodiscard]] bool is_other() const noexcept {
    const ThreadId owner = owner_.load(std::memory_order_relaxed);
    return owner && owner != this_thread();
  }
  [[nodiscard]] unsigned frames() const noexcept { return frames_; }

 private:
  [[gnu::noinline]] static void refuse_other_thread(ThreadId owner);
  [[noreturn]] static void die_of_other_thread() noexcept;

  std::atomic<ThreadId> owner_{nullptr};
  unsigned frames_ = 0;
  bool release_is_due_ = false;
};

}  // namespace onloop::detail
