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

/// Opens connections a burst at a time, with a rest in between: a server's backlog is bounded, and what goes beyond it
/// is refused, or tried again by the kernel a second later.
class Opening {
 public:
  Opening(onloop::Context& context, std::string address, onloop::ConnectOptions options);

  /// One connection for each of `protocols`, in this order; `done` once all are open.
  void start(std::vector<onloop::Protocol*> protocols, onloop::Task done);
  /// To be told of each connection's on_open.
  void opened();
  /// To be told of each that failed with EAGAIN: the backlog of a UNIX socket is full. Tries it once more, after a
  /// rest. False: no connection was opened for as long as a connection may take, so there is no hope.
  [[nodiscard]] bool again(onloop::Protocol& protocol);

  [[nodiscard]] std::size_t open() const noexcept { return open_; }
  [[nodiscard]] std::size_t wanted() const noexcept { return wanted_; }

 private:
  void burst();
  void one_settled();

  onloop::Context& context_;
  const std::string address_;
  const onloop::ConnectOptions options_;
  std::vector<onloop::Protocol*> waiting_;  // the next is the last
  onloop::Task done_;
  onloop::Timer rest_;
  std::chrono::steady_clock::time_point last_opened_;
  std::size_t wanted_ = 0;
  std::size_t connecting_ = 0;
  std::size_t open_ = 0;
};

}  // namespace load
