#pragma once
#include <onloop/loop_ops.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace onloop::detail {

class TimerHeap;

/// Something that is due at a moment. Its owner takes it off the heap before destroying it.
class TimerNode {
 public:
  TimerNode() noexcept = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  /// Called off the heap, so it may set or destroy itself.
  virtual void on_due() = 0;
  [[nodiscard]] bool scheduled() const noexcept { return index_ != kNowhere; }
  /// Nanoseconds of CLOCK_MONOTONIC; of the last schedule().
  [[nodiscard]] std::uint64_t due_at() const noexcept { return at_; }

 protected:
  ~TimerNode() = default;

 private:
  friend class TimerHeap;
  static constexpr std::size_t kNowhere = SIZE_MAX;
  std::uint64_t at_ = 0;
  std::uint64_t order_ = 0;  // of setting, which decides between equal deadlines
  std::size_t index_ = kNowhere;
};

/// A binary heap of timers, the earliest on top. It owns nothing.
class TimerHeap {
 public:
  /// Puts `node` on the heap, or moves it to its new place. Strong guarantee: throws only std::bad_alloc.
  void schedule(TimerNode& node, std::uint64_t at);
  void cancel(TimerNode& node) noexcept;
  [[nodiscard]] std::uint64_t earliest() const noexcept {
    return heap_.empty() ? ONLOOP_NO_DEADLINE : heap_.front()->at_;
  }
  /// A mark between the timers that are set by now and those set later.
  [[nodiscard]] std::uint64_t mark() const noexcept { return next_order_; }
  /// Takes the earliest timer off the heap if it is due at `now` and was set before `mark`; else null.
  TimerNode* take_due(std::uint64_t now, std::uint64_t mark) noexcept;
  /// Takes off any one timer; null if there is none.
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
