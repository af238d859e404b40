#pragma once
#include <onloop/context.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "common/signals.hpp"
#include "onloop-load/client.hpp"
#include "onloop-load/histogram.hpp"
#include "onloop-load/opening.hpp"
#include "onloop-load/options.hpp"
#include "onloop-load/pattern.hpp"
#include "onloop-load/report.hpp"

namespace load {

/// One run: opens all connections, lets the active clients send, measures, and waits until all messages in flight are
/// back.
class Load {
 public:
  explicit Load(const Options& options);

  /// Runs to the end, or until a signal. Throws an exception if the run cannot begin.
  [[nodiscard]] Report run();

  // The following functions are for the clients. The functions defined here in the class are called for each message.
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Pattern& pattern() const noexcept { return pattern_; }
  /// The time of CLOCK_MONOTONIC in nanoseconds.
  [[nodiscard]] static std::uint64_t now() noexcept {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  void opened() { opening_.opened(); }
  void not_opened(Client& client, std::error_code error);
  /// An open connection was lost, with this number of messages in flight, which will never come back.
  void lost(const std::string& what, std::size_t in_flight);
  /// Begins messages for a client that wants to send `wanted` messages. Returns how many of them it may send.
  [[nodiscard]] std::size_t begin(std::size_t wanted) noexcept {
    const std::size_t messages = budget_ < wanted ? static_cast<std::size_t>(budget_) : wanted;
    budget_ -= messages;
    in_flight_ += messages;
    return messages;
  }
  void received(std::size_t bytes) noexcept { bytes_ += bytes; }
  void latency(std::uint64_t nanoseconds, std::size_t messages) noexcept { latency_.record(nanoseconds, messages); }
  void completed(std::size_t messages) {
    messages_ += messages;
    in_flight_ -= messages;
    if (budget_ == 0 && in_flight_ == 0) [[unlikely]]
      finish();
  }

 private:
  // In the phase `finishing`, measuring has ended, but messages are still in flight.
  enum class Phase { opening, warming_up, measuring, finishing, over };

  void start();
  void begin_measuring();
  void end_measuring();
  void finish();
  void interrupt();
  void fail(const std::string& what);
  void each_second();
  void say_progress();

  const Options options_;
  const Pattern pattern_;
  tools::Signals signals_;
  std::vector<std::unique_ptr<IdleClient>> idle_;
  std::vector<std::unique_ptr<ActiveClient>> active_;
  onloop::Context context_;  // is destroyed before the clients, which its connections call
  Opening opening_;
  onloop::Watch signal_watch_;
  onloop::Timer each_second_;
  onloop::Timer phase_end_;

  Phase phase_ = Phase::opening;
  Report report_;
  std::uint64_t budget_ = 0;     // messages that may still be begun
  std::uint64_t in_flight_ = 0;  // messages of all clients
  std::uint64_t messages_ = 0;   // messages that came back since the start
  std::uint64_t bytes_ = 0;      // bytes that came back since the start
  Histogram latency_;
  // The values when measuring began.
  std::uint64_t began_ = 0;
  std::uint64_t messages_before_ = 0;
  std::uint64_t bytes_before_ = 0;
  // The values at the last call of each_second().
  std::uint64_t messages_then_ = 0;
  std::uint64_t bytes_then_ = 0;
  unsigned seconds_ = 0;
  unsigned silent_seconds_ = 0;
};

}  // namespace load
