#pragma once
#include <onloop/context.hpp>
#include <onloop/options.hpp>
#include <onloop/protocol.hpp>
#include <onloop/timer.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace load {

/// Opens connections in bursts, with a rest between two bursts. The backlog of a server is bounded. A connection beyond
/// it is refused, or the kernel tries it again a second later.
class Opening {
 public:
  Opening(onloop::Context& context, std::string address, onloop::ConnectOptions options);

  /// Opens one connection for each of `protocols`, in this order. `done` runs when all connections are open.
  void start(std::vector<onloop::Protocol*> protocols, onloop::Task done);
  /// Must be called in on_open of each connection.
  void opened();
  /// Must be called for each connection that failed with EAGAIN, which means that the backlog of a UNIX socket is full.
  /// Tries this connection once more after a rest.
  ///
  /// @return False if no connection was opened for as long as one connection may take. The run must then give up.
  [[nodiscard]] bool again(onloop::Protocol& protocol);

  [[nodiscard]] std::size_t open() const noexcept { return open_; }
  [[nodiscard]] std::size_t wanted() const noexcept { return wanted_; }

 private:
  void burst();
  void one_settled();

  onloop::Context& context_;
  const std::string address_;
  const onloop::ConnectOptions options_;
  std::vector<onloop::Protocol*> waiting_;  // in reverse order: the last element is the next one to connect
  onloop::Task done_;
  onloop::Timer rest_;
  std::chrono::steady_clock::time_point last_opened_;
  std::size_t wanted_ = 0;
  std::size_t connecting_ = 0;
  std::size_t open_ = 0;
};

}  // namespace load
