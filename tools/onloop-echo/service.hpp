#pragma once
#include <onloop/context.hpp>
#include <onloop/listener.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/signals.hpp"
#include "onloop-echo/limited_echo.hpp"
#include "onloop-echo/log.hpp"
#include "onloop-echo/options.hpp"

namespace echo {

/// The echo service from its listening to its end.
class Service {
 public:
  /// Listens on every address, or throws std::system_error that says which one failed and what to do.
  explicit Service(const Options& options);

  /// Says that it is ready, serves until a signal ends it, and drains.
  void run();

 private:
  void listen_on(const std::string& text);
  void announce();
  void on_signal(int number);
  void move_to(std::string_view name, std::optional<onloop::Hosting> hosting = {});
  void move_on();
  void drain(int number);
  void stop_now(int number);
  void print_statistics() const;
  void notify(std::string_view state) const;

  const Options options_;
  const Log log_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  tools::Signals signals_;
  std::vector<onloop::Listener*> listeners_;  // the context's
  const std::unique_ptr<LimitedEcho> echo_;
  onloop::Context context_;  // goes before the protocol that its connections call
  onloop::Watch signal_watch_;
  onloop::Timer stats_timer_;
  bool draining_ = false;
};

}  // namespace echo
