#pragma once
#include <onloop/address.hpp>
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

/// One context with its listeners and its echo protocol.
///
/// Thread: while the context runs, only the thread that runs it may use the worker. Before and afterwards, only the
/// thread that made the worker may use it.
class Worker {
 public:
  Worker(const Options& options, const Log& log, ConnectionLimit& connection_limit);

  [[nodiscard]] onloop::Context& context() noexcept { return context_; }
  [[nodiscard]] const onloop::Context& context() const noexcept { return context_; }
  /// May be called on any thread.
  [[nodiscard]] const onloop::Remote& remote() const noexcept { return remote_; }

  // ---- listening ----

  /// Listens on an address for clients of `protocol`.
  ///
  /// @throws std::runtime_error that says which address failed and what to do.
  onloop::Listener& listen(const onloop::Address& address, onloop::Protocol& protocol, const onloop::Limits& limits);
  /// Listens on an address for clients of the echo protocol. Throws as listen() does.
  void serve(const onloop::Address& address);
  /// Throws as listen() does if anybody listens on this address. With SO_REUSEPORT, the two would share the port.
  void refuse_if_in_use(const onloop::Address& address);
  /// The listeners of the echo protocol. The context owns them.
  [[nodiscard]] const std::vector<onloop::Listener*>& listeners() const noexcept { return listeners_; }
  [[nodiscard]] LimitedEcho& echo() noexcept { return *echo_; }
  /// Adds a listener that came from another process.
  void add(onloop::Listener& listener) { listeners_.push_back(&listener); }
  /// Forgets the listeners, because they went to another process.
  void forget_listeners() noexcept { listeners_.clear(); }

  // ---- moving ----

  /// Moves the context to this loop.
  ///
  /// @return False if the context was on this loop already.
  /// @throws std::system_error if the move fails. The context then stays on its loop.
  bool move_to(const onloop::Loop& loop);
  /// Moves back to the loop before the last move_to(). Returns false if that call has not moved the context. Throws as
  /// move_to() does.
  bool move_back();

  // ---- ending ----

  /// Stops listening. Clients that wait in the backlog are still served.
  void stop_listening();
  /// Runs `alone` once, when there is no connection except those of leave_out(). If there is none now, runs it at once.
  void when_alone(onloop::Task alone);
  /// Aborts all connections, and then calls `done` with the number of echo connections that were aborted.
  void cut_off(std::function<void(std::uint64_t)> done);

  // ---- telling ----

  /// From now on, statistics() is without `part`, the statistics of connections of another protocol. `part` must
  /// outlive the worker.
  void leave_out(const onloop::Statistics& part) noexcept { left_out_ = &part; }
  [[nodiscard]] onloop::Statistics statistics() const noexcept;

 private:
  onloop::Listener& listen(const onloop::Address& address, onloop::Protocol& protocol,
                           const onloop::ListenOptions& how);
  void tell_if_alone();

  const Options& options_;
  const onloop::Statistics* left_out_ = nullptr;
  std::vector<onloop::Listener*> listeners_;
  const std::unique_ptr<LimitedEcho> echo_;
  onloop::Context context_;  // is destroyed before echo_, the protocol that its connections call
  const onloop::Remote remote_;
  std::optional<onloop::Loop> before_;
  onloop::Task alone_;
};

}  // namespace echo
