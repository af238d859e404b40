#include "core/runtime/timer_heap.hpp"

namespace onloop::detail {

void TimerHeap::schedule(TimerNode& node, std::uint64_t at) {
  if (!node.scheduled()) {
    heap_.push_back(&node);
    node.index_ = heap_.size() - 1;
  }
  node.at_ = at;
  node.order_ = next_order_++;
  sift_up(node.index_);
  sift_down(node.index_);
}

void TimerHeap::cancel(TimerNode& node) noexcept {
  if (!node.scheduled()) return;
  const std::size_t hole = node.index_;
  node.index_ = TimerNode::kNowhere;
  TimerNode* last = heap_.back();
  heap_.pop_back();
  if (last == &node) return;
  place(last, hole);
  sift_up(hole);
  sift_down(last->index_);
}

TimerNode* TimerHeap::take_due(std::uint64_t now, std::uint64_t mark) noexcept {
  if (heap_.empty()) return nullptr;
  TimerNode* top = heap_.front();
  if (top->at_ > now || top->order_ >= mark) return nullptr;
  cancel(*top);
  return top;
}

TimerNode* TimerHeap::take_any() noexcept {
  if (heap_.empty()) return nullptr;
  TimerNode* last = heap_.back();
  cancel(*last);
  return last;
}

void TimerHeap::place(TimerNode* node, std::size_t index) noexcept {
  heap_[index] = node;
  node->index_ = index;
}

void TimerHeap::sift_up(std::size_t index) noexcept {
  TimerNode* node = heap_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (!before(node, heap_[parent])) break;
    place(heap_[parent], index);
    index = parent;
  }
  place(node, index);
}

void TimerHeap::sift_down(std::size_t index) noexcept {
  TimerNode* node = heap_[index];
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
    if (!before(heap_[child], node)) break;
    place(heap_[child], index);
    index = child;
  }
  place(node, index);
}

}  // namespace onloop::detail
