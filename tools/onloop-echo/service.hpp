#pragma once
#include <onloop/context.hpp>
#include <onloop/listener.hpp>
#include <onloop/takeover.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/signals.hpp"
#include "onloop-echo/control.hpp"
#include "onloop-echo/limited_echo.hpp"
#include "onloop-echo/log.hpp"
#include "onloop-echo/options.hpp"

namespace echo {

/// The echo service from its listening to its end.
class Service {
 public:
  /// Listens on every address, or throws std::system_error that says which one failed and what to do.
  explicit Service(const Options& options);

  /// Says that it is ready, serves until a signal or the control socket ends it, and drains.
  void run();

  // ---- what signals and the control socket ask for; `who` asked, for the log ----

  [[nodiscard]] const onloop::Loop& loop() const noexcept { return context_.loop(); }
  /// Without the control socket's own connections.
  [[nodiscard]] onloop::Statistics statistics() const;
  /// The same as one JSON object in one line.
  [[nodiscard]] std::string statistics_line() const;
  /// Moves everything to the loop of that name, hosted so; by default as --hosting says, or as the loop has it. If that
  /// throws, std::system_error or tools::UsageError, it goes on where it was.
  void move_to(std::string_view name, std::optional<onloop::Hosting> hosting = {});
  /// Stops listening, and ends when the connections are over, or at --drain-timeout. The control socket works until
  /// then.
  void drain(std::string_view who);
  void stop_now(std::string_view who);
  /// The client is a server that takes over: gives it the listeners and the connections, and ends; or goes on.
  void hand_over(const Request& request);

 private:
  onloop::Listener& listen_on(const std::string& address, onloop::Protocol& protocol, const onloop::Limits& limits);
  void take_over();
  void taken_over(const onloop::TakeoverResult& result);
  void handed_over(const onloop::TakeoverResult& result);
  void listen_on_the_rest();
  [[nodiscard]] bool listens_on(const std::string& address) const;
  [[nodiscard]] onloop::TakeoverOptions members();
  void announce();
  void on_signal(int number);
  void move_on();
  void end_with_the_last();
  void end_if_alone();
  void end();
  void print_statistics() const;
  void notify(const std::string& state) const;

  const Options options_;
  const Log log_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  tools::Signals signals_;
  std::vector<onloop::Listener*> listeners_;  // the context's
  onloop::Listener* control_listener_ = nullptr;
  const std::unique_ptr<LimitedEcho> echo_;
  Control control_;
  onloop::Context context_;  // goes before the protocols that its connections call
  onloop::Watch signal_watch_;
  onloop::Timer stats_timer_;
  onloop::Timer drain_limit_;
  std::string failure_;  // why a takeover came to nothing
  bool amid_takeover_ = false;
  std::string drain_after_takeover_;  // who has asked for it in the middle of one
  bool draining_ = false;
  bool ending_ = false;
};

}  // namespace echo
