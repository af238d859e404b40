#pragma once
#include <onloop/connection.hpp>
#include <onloop/echo.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "onloop-echo/connection_limit.hpp"

namespace echo {

/// The echo protocol of one worker. All workers together keep the number of connections within one limit.
class LimitedEcho : public onloop::Echo {
 public:
  explicit LimitedEcho(ConnectionLimit& connection_limit) noexcept : connection_limit_(connection_limit) {}

  /// The number of connections that have ended with ETIMEDOUT.
  [[nodiscard]] std::uint64_t timed_out() const noexcept { return timed_out_; }

  /// Sets a task that runs whenever a connection ends. The connection still counts as open while the task runs.
  void when_one_ends(std::function<void()> task) { one_ends_ = std::move(task); }

  bool on_accept(const onloop::Address& peer) override;
  void on_open(onloop::Connection& connection) override;
  void on_close(onloop::Connection& connection, std::error_code error) override;

  // ---- a takeover: see onloop::TakeoverOptions ----
  [[nodiscard]] virtual bool export_state(onloop::Connection& connection, std::vector<std::byte>& state);
  virtual void import_state(onloop::Connection& connection, std::span<const std::byte> state);

 protected:
  [[nodiscard]] ConnectionLimit& connection_limit() const noexcept { return connection_limit_; }

 private:
  ConnectionLimit& connection_limit_;
  bool has_place_ = false;  // a place is taken for a client that was let in and has not opened yet
  std::uint64_t timed_out_ = 0;
  std::function<void()> one_ends_;
};

}  // namespace echo
