#pragma once
#include <onloop/task.hpp>

#include "core/base/counted.hpp"
#include "core/runtime/timer_heap.hpp"

namespace onloop::detail {

class Runtime;

/// The object behind a Timer: a timer of one context. The Timer handle owns it, and so does the frame that calls its
/// callback. Thread: the context's.
class TimerEntry final : public Counted, public TimerNode {
 public:
  /// @param period In nanoseconds. 0 makes a timer that fires once.
  TimerEntry(Runtime& runtime, Task task, std::uint64_t period) noexcept
      : runtime_(&runtime), task_(std::move(task)), period_(period) {}

  void start(std::uint64_t at);
  void cancel() noexcept;

 private:
  void on_due() override;

  Runtime* runtime_;  // valid while the timer is scheduled: a context that is destroyed takes all timers off its heap
  Task task_;
  std::uint64_t period_;
};

}  // namespace onloop::detail
