#pragma once
#include <onloop/task.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstdint>

#include "core/node/handle_state.hpp"

namespace onloop::detail {

/// Behind a node::Timeout.
class TimeoutState final : public HandleState {
 public:
  /// period: it repeats.
  TimeoutState(Phases& phases, Task task, std::chrono::nanoseconds delay, bool repeats) noexcept
      : HandleState(phases), task_(std::move(task)), delay_(delay), repeats_(repeats) {}
  void start();
  void clear() noexcept;
  void refresh();

 private:
  void arm();
  void due();
  void sever() noexcept override;

  Task task_;  // empty while it runs
  const std::chrono::nanoseconds delay_;
  const bool repeats_;
  Timer timer_;
};

/// Behind a node::Immediate.
class ImmediateState final : public HandleState {
 public:
  ImmediateState(Phases& phases, Task task) noexcept : HandleState(phases), task_(std::move(task)) {}
  void start() { activate(); }
  void run();
  void clear() noexcept;

  std::uint64_t order = 0;  // of setting

 private:
  void sever() noexcept override;

  Task task_;
};

/// Behind a detail::KeepAlive, active from the start.
class KeepAliveState final : public HandleState {
 public:
  using HandleState::HandleState;
  void start() { activate(); }
  void end() noexcept { deactivate(); }

 private:
  void sever() noexcept override {}
};

}  // namespace onloop::detail
