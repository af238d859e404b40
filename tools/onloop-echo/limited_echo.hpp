#pragma once
#include <onloop/connection.hpp>
#include <onloop/echo.hpp>
#include <onloop/listener.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace echo {

/// Echo that holds the connections of several listeners down to one limit.
class LimitedEcho : public onloop::Echo {
 public:
  /// `listeners` are those whose connections count for the limit; it may grow and shrink later.
  LimitedEcho(std::size_t max_connections, const std::vector<onloop::Listener*>& listeners) noexcept
      : max_connections_(max_connections), listeners_(listeners) {}

  /// Connections that have ended with ETIMEDOUT.
  [[nodiscard]] std::uint64_t timed_out() const noexcept { return timed_out_; }

  /// From now on `task` runs at each end of a connection, which still counts as open then.
  void when_one_ends(std::function<void()> task) { one_ends_ = std::move(task); }

  bool on_accept(const onloop::Address& peer) override;
  void on_close(onloop::Connection& connection, std::error_code error) override;

 private:
  const std::size_t max_connections_;
  const std::vector<onloop::Listener*>& listeners_;
  std::uint64_t timed_out_ = 0;
  std::function<void()> one_ends_;
};

}  // namespace echo
