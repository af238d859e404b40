#pragma once
#include <atomic>

#include "core/base/thread_id.hpp"

namespace onloop::detail {

/// Knows the thread that a context is bound to: the thread that runs it, or no thread. The Runtime owns it. check() and
/// is_other() may be called on any thread.
class ThreadBinding {
 public:
  static constexpr const char* kWrongThread =
      "a context was used from another thread than the one that runs it; use a Remote, or release_thread() first";

  /// While a Frame lives, code of the context is on the stack that a loop, run() or dispatch() has called. If user code
  /// iterates the loop in a callback, this makes a further Frame.
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
  /// Binds the context to the thread on which a loop calls it. If the context is bound to another thread, it logs the
  /// reason and aborts, because a loop must always call on the same thread.
  void bind_in_upcall() noexcept {
    if (is_other()) die_of_other_thread();
    bind();
  }
  /// Binds the context to no thread.
  void release() noexcept { owner_.store(nullptr, std::memory_order_relaxed); }
  /// Releases the thread as soon as no Frame lives. This may be at once.
  void release_after_frames() noexcept {
    release_is_due_ = frames_ != 0;
    if (!release_is_due_) release();
  }

  /// Throws std::system_error (EPERM) if the context is bound to another thread.
  void check() const {
    const ThreadId owner = owner_.load(std::memory_order_relaxed);
    if (owner != this_thread()) refuse_other_thread(owner);
  }
  /// True if the context is bound to another thread.
  [[nodiscard]] bool is_other() const noexcept {
    const ThreadId owner = owner_.load(std::memory_order_relaxed);
    return owner && owner != this_thread();
  }
  [[nodiscard]] unsigned frames() const noexcept { return frames_; }

 private:
  [[gnu::noinline]] static void refuse_other_thread(ThreadId owner);
  [[noreturn]] static void die_of_other_thread() noexcept;

  std::atomic<ThreadId> owner_{nullptr};  // the thread; null if the context is bound to none
  unsigned frames_ = 0;
  bool release_is_due_ = false;
};

}  // namespace onloop::detail
