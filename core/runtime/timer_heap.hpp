#pragma once
#include <onloop/loop_ops.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onloop::detail {

class TimerHeap;

/// The base of an object that is due at a moment. Its owner must take it off the heap before destroying it.
class TimerNode {
 public:
  TimerNode() noexcept = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  /// Called when it is due, after it was taken off the heap. So it may schedule or destroy itself.
  virtual void on_due() = 0;
  [[nodiscard]] bool scheduled() const noexcept { return index_ != kNowhere; }
  /// The moment of the last schedule(), in nanoseconds of CLOCK_MONOTONIC.
  [[nodiscard]] std::uint64_t due_at() const noexcept { return at_; }

 protected:
  ~TimerNode() = default;

 private:
  friend class TimerHeap;
  static constexpr std::size_t kNowhere = SIZE_MAX;
  std::uint64_t at_ = 0;
  std::uint64_t order_ = 0;  // the order in which timers were set; it decides between equal moments
  std::size_t index_ = kNowhere;
};

/// The timers of a context: a binary heap with the earliest timer on top. It owns no timer. The Turn owns it. Thread:
/// the context's.
class TimerHeap {
 public:
  /// Puts `node` on the heap, or moves it to its new place. It throws only std::bad_alloc, and then nothing has
  /// changed.
  void schedule(TimerNode& node, std::uint64_t at);
  void cancel(TimerNode& node) noexcept;
  /// The moment of the earliest timer, or ONLOOP_NO_DEADLINE if there is none.
  [[nodiscard]] std::uint64_t earliest() const noexcept {
    return heap_.empty() ? ONLOOP_NO_DEADLINE : heap_.front()->at_;
  }
  /// A mark that separates the timers that were set so far from timers that are set later.
  [[nodiscard]] std::uint64_t mark() const noexcept { return next_order_; }
  /// Takes the earliest timer off the heap if it is due at `now` and was set before `mark`. Otherwise returns null.
  TimerNode* take_due(std::uint64_t now, std::uint64_t mark) noexcept;
  /// Takes any one timer off the heap. Returns null if there is none.
  TimerNode* take_any() noexcept;

 private:
  static bool before(const TimerNode* a, const TimerNode* b) noexcept {
    return a->at_ != b->at_ ? a->at_ < b->at_ : a->order_ < b->order_;
  }
  void place(TimerNode* node, std::size_t index) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  std::vector<TimerNode*> heap_;
  std::uint64_t next_order_ = 0;
};

}  // namespace onloop::detail
