#pragma once
#include <onloop/task.hpp>

#include "core/base/counted.hpp"
#include "core/runtime/timer_heap.hpp"

namespace onloop::detail {

class Runtime;

/// What a Timer owns. The handle owns it, and so does the frame that is running it.
class TimerEntry final : public Counted, public TimerNode {
 public:
  /// period: nanoseconds, 0 for a timer that fires once.
  TimerEntry(Runtime& runtime, Task task, std::uint64_t period) noexcept
      : runtime_(&runtime), task_(std::move(task)), period_(period) {}

  void start(std::uint64_t at);
  void cancel() noexcept;

 private:
  void on_due() override;

  Runtime* runtime_;  // used only while scheduled: the context takes every timer off its heap when it goes
  Task task_;
  std::uint64_t period_;
};

}  // namespace onloop::detail
