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

/// The echo service, from listening to its end.
///
/// The workers serve the clients. The first worker also has the signals, the timers and the control socket. A function
/// that asks the workers continues when all workers have answered. With one worker, that is at once.
class Service {
 public:
  /// Listens on every address, or begins a takeover.
  ///
  /// @throws std::runtime_error that says which address failed and what to do.
  explicit Service(const Options& options);

  /// Says that the service is ready, serves until a signal, the control socket or a takeover ends it, and drains.
  ///
  /// @throws std::runtime_error if the service cannot go on.
  void run();

  // ---- what signals and the control socket ask for; `who` is who asked, for the log ----

  [[nodiscard]] const onloop::Loop& loop() const noexcept { return workers_.first().context().loop(); }
  /// Calls `then` with the statistics of all workers. They are without the connections of the control socket.
  void ask_statistics(std::function<void(const onloop::Statistics&)> then);
  /// The statistics as one JSON object in one line.
  [[nodiscard]] std::string statistics_line(const onloop::Statistics& statistics) const;
  /// Moves all workers to the loop with this name. If the move fails, the service stays on its loop.
  ///
  /// @param hosting  The hosting there. If it is not given, that of --hosting counts, or else the default of the loop.
  /// @param done     Called with the outcome.
  void move_to(const std::string& name, std::optional<onloop::Hosting> hosting, CutoverCoordinator::Done done);
  /// Stops listening. The service ends when all connections have ended, or after --drain-timeout. The control socket
  /// works until then.
  void drain(const std::string& who);
  /// Ends the service at once and cuts off the open connections.
  void stop_now(const std::string& who);
  /// Hands over to the client of this request, which is a server that takes over: gives it the listeners and the
  /// connections, and then ends. If the takeover fails, the service goes on.
  void hand_over(const Request& request);

 private:
  [[nodiscard]] onloop::Context& context() noexcept { return workers_.first().context(); }

  void listen_on_the_rest();
  [[nodiscard]] bool listens_on(const onloop::Address& address) const;
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

  // ---- takeover, with one worker; in service_takeover.cpp ----

  void take_over();
  void taken_over(const onloop::TakeoverResult& result);
  void handed_over(const onloop::TakeoverResult& result);
  [[nodiscard]] onloop::TakeoverOptions members();

  const Options options_;
  const Log log_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  tools::Signals signals_;  // the signals are blocked before any other thread starts
  onloop::Listener* control_listener_ = nullptr;
  Control control_;
  WorkerGroup workers_;  // is destroyed before control_, the protocol that its connections call
  CutoverCoordinator cutover_;
  onloop::Watch signal_watch_;
  onloop::Timer stats_timer_;
  onloop::Timer drain_limit_;
  std::string failure_;  // why the service cannot go on; empty if it can
  bool amid_takeover_ = false;
  std::string drain_after_takeover_;  // who asked for a drain during a takeover
  bool draining_ = false;
  bool ending_ = false;
};

}  // namespace echo
