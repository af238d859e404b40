#pragma once
#include <onloop/context.hpp>
#include <onloop/listener.hpp>
#include <onloop/loop.hpp>
#include <onloop/remote.hpp>
#include <onloop/task.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "onloop-echo/connection_limit.hpp"
#include "onloop-echo/limited_echo.hpp"
#include "onloop-echo/log.hpp"
#include "onloop-echo/options.hpp"

namespace echo {

/// One context, its listeners and its echo. Belongs to the thread that runs the context; before and afterwards to the
/// one that made it.
class Worker {
 public:
  Worker(const Options& options, const Log& log, ConnectionLimit& connection_limit);

  [[nodiscard]] onloop::Context& context() noexcept { return context_; }
  [[nodiscard]] const onloop::Context& context() const noexcept { return context_; }
  /// For any thread.
  [[nodiscard]] const onloop::Remote& remote() const noexcept { return remote_; }

  // ---- listening ----

  /// Throws std::runtime_error that says which address failed and what to do.
  onloop::Listener& listen(const std::string& address, onloop::Protocol& protocol, const onloop::Limits& limits);
  /// Listens for clients of the echo; likewise.
  void serve(const std::string& address);
  /// Throws likewise if anybody listens there, whom SO_REUSEPORT would share the port with.
  void refuse_if_in_use(const std::string& address);
  /// Those of the echo; the context's.
  [[nodiscard]] const std::vector<onloop::Listener*>& listeners() const noexcept { return listeners_; }
  [[nodiscard]] LimitedEcho& echo() noexcept { return *echo_; }
  /// One that came from another process.
  void add(onloop::Listener& listener) { listeners_.push_back(&listener); }
  /// They went to another process.
  void forget_listeners() noexcept { listeners_.clear(); }

  // ---- moving ----

  /// False: it was there already. Throws std::system_error, and then it goes on where it was.
  bool move_to(const onloop::Loop& loop);
  /// To where it was before the last move_to(), if that has moved it; likewise.
  bool move_back();

  // ---- ending ----

  void stop_listening();
  /// Runs `alone` once there is no connection but those that are left out; at once if there is none now.
  void when_alone(onloop::Task alone);
  /// Aborts what is left, and then runs `done` with how many connections that were.
  void cut_off(std::function<void(std::uint64_t)> done);

  // ---- telling ----

  /// From now on statistics() is without these, which are of connections of another protocol.
  void leave_out(const onloop::Statistics& part) noexcept { left_out_ = &part; }
  [[nodiscard]] onloop::Statistics statistics() const noexcept;

 private:
  onloop::Listener& listen(const std::string& address, onloop::Protocol& protocol, const onloop::ListenOptions& how);
  void tell_if_alone();

  const Options& options_;
  const onloop::Statistics* left_out_ = nullptr;
  std::vector<onloop::Listener*> listeners_;
  const std::unique_ptr<LimitedEcho> echo_;
  onloop::Context context_;  // goes before the protocol that its connections call
  const onloop::Remote remote_;
  std::optional<onloop::Loop> before_;
  onloop::Task alone_;
};

}  // namespace echo
