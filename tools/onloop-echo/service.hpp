#pragma once
#include <onloop/context.hpp>
#include <onloop/listener.hpp>
#include <onloop/takeover.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "common/signals.hpp"
#include "onloop-echo/control.hpp"
#include "onloop-echo/cutover_coordinator.hpp"
#include "onloop-echo/log.hpp"
#include "onloop-echo/options.hpp"
#include "onloop-echo/worker_group.hpp"

namespace echo {

/// The echo service from its listening to its end. The workers serves the clients; signals, timers and the control
/// socket are the first worker's. What asks the workers goes on when all have answered; with one worker, at once.
class Service {
 public:
  /// Listens on every address, or throws std::system_error that says which one failed and what to do.
  explicit Service(const Options& options);

  /// Says that it is ready, serves until a signal or the control socket ends it, and drains.
  void run();

  // ---- what signals and the control socket ask for; `who` asked, for the log ----

  [[nodiscard]] const onloop::Loop& loop() const noexcept { return workers_.first().context().loop(); }
  /// Those of all workers, without the control socket's own connections.
  void ask_statistics(std::function<void(const onloop::Statistics&)> then);
  /// The same as one JSON object in one line.
  [[nodiscard]] std::string statistics_line(const onloop::Statistics& statistics) const;
  /// Moves everything to the loop of that name, hosted so; by default as --hosting says, or as the loop has it. If that
  /// fails, it goes on where it was.
  void move_to(const std::string& name, std::optional<onloop::Hosting> hosting, CutoverCoordinator::Done done);
  /// Stops listening, and ends when the connections are over, or at --drain-timeout. The control socket works until
  /// then.
  void drain(const std::string& who);
  void stop_now(const std::string& who);
  /// The client is a server that takes over: gives it the listeners and the connections, and ends; or goes on.
  void hand_over(const Request& request);

 private:
  [[nodiscard]] onloop::Context& context() noexcept { return workers_.first().context(); }

  void listen_on_the_rest();
  [[nodiscard]] bool listens_on(const std::string& address) const;
  void announce();
  void fail(const std::string& why);
  void on_signal(int number);
  void move_on();
  void move(CutoverCoordinator::Where where, CutoverCoordinator::Done done);
  void tell_of_move();
  void end_with_the_last();
  void end();
  void print_statistics(const onloop::Statistics& statistics) const;
  void notify(const std::string& state) const;

  // ---- from process to process, with one worker: service_takeover.cpp ----

  void take_over();
  void taken_over(const onloop::TakeoverResult& result);
  void handed_over(const onloop::TakeoverResult& result);
  [[nodiscard]] onloop::TakeoverOptions members();

  const Options options_;
  const Log log_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  tools::Signals signals_;  // blocked before any other thread starts
  onloop::Listener* control_listener_ = nullptr;
  Control control_;
  WorkerGroup workers_;  // goes before the protocol that its connections call
  CutoverCoordinator cutover_;
  onloop::Watch signal_watch_;
  onloop::Timer stats_timer_;
  onloop::Timer drain_limit_;
  std::string failure_;  // why it can't go on
  bool amid_takeover_ = false;
  std::string drain_after_takeover_;  // who has asked for it in the middle of one
  bool draining_ = false;
  bool ending_ = false;
};

}  // namespace echo
