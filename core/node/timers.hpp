#pragma once
#include <onloop/task.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstdint>

#include "core/node/handle_state.hpp"

namespace onloop::detail {

/// The state of a node::Timeout. HandleState says who owns it, and on which thread it is used. It is active while it is
/// set.
class TimeoutState final : public HandleState {
 public:
  /// @param repeats True for an interval, which runs `task` each `delay`.
  TimeoutState(Phases& phases, Task task, std::chrono::nanoseconds delay, bool repeats) noexcept
      : HandleState(phases), task_(std::move(task)), delay_(delay), repeats_(repeats) {}
  void start();
  /// Cancels the timeout, and destroys the task unless the task is running.
  void clear() noexcept;
  /// Makes the timeout count from now.
  void refresh();

 private:
  void arm();  // sets timer_
  void due();  // timer_ has fired
  void sever() noexcept override;

  Task task_;  // empty while it runs
  const std::chrono::nanoseconds delay_;
  const bool repeats_;
  Timer timer_;
};

/// The state of a node::Immediate. It is active until it runs or is cleared. The queue of Phases is one more owner.
class ImmediateState final : public HandleState {
 public:
  ImmediateState(Phases& phases, Task task) noexcept : HandleState(phases), task_(std::move(task)) {}
  void start() { activate(); }
  void run();
  void clear() noexcept;

  std::uint64_t order = 0;  // Phases counts the immediates that are set

 private:
  void sever() noexcept override;

  Task task_;
};

/// The state of a detail::KeepAlive. It is active from start() to end().
class KeepAliveState final : public HandleState {
 public:
  using HandleState::HandleState;
  void start() { activate(); }
  void end() noexcept { deactivate(); }

 private:
  void sever() noexcept override {}
};

}  // namespace onloop::detail
