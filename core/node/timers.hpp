#pragma once
#include <onloop/task.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstdint>

#include "core/node/active.hpp"

namespace onloop::detail {

/// Behind a net::Timeout.
class TimeoutState final : public Active {
 public:
  /// period: it repeats.
  TimeoutState(Phases& phases, Task task, std::chrono::nanoseconds delay, bool repeats) noexcept
      : Active(phases), task_(std::move(task)), delay_(delay), repeats_(repeats) {}
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

/// Behind a net::Immediate.
class ImmediateState final : public Active {
 public:
  ImmediateState(Phases& phases, Task task) noexcept : Active(phases), task_(std::move(task)) {}
  void start() { activate(); }
  void run();
  void clear() noexcept;

  std::uint64_t order = 0;  // of setting

 private:
  void sever() noexcept override;

  Task task_;
};

/// Behind a detail::Hold, active from the start.
class HoldState final : public Active {
 public:
  using Active::Active;
  void start() { activate(); }
  void end() noexcept { deactivate(); }

 private:
  void sever() noexcept override {}
};

}  // namespace onloop::detail
