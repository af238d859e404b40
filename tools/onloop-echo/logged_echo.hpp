#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "onloop-echo/limited_echo.hpp"
#include "onloop-echo/log.hpp"

namespace echo {

/// LimitedEcho for --verbose: logs when a connection begins and how it ends. It is a class of its own, so that without
/// --verbose a message costs nothing extra.
class LoggedEcho final : public LimitedEcho {
 public:
  LoggedEcho(const Log& log, ConnectionLimit& connection_limit) noexcept : LimitedEcho(connection_limit), log_(log) {}

  bool on_accept(const onloop::Address& peer) override;
  void on_open(onloop::Connection& connection) override;
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
  void on_close(onloop::Connection& connection, std::error_code error) override;
  [[nodiscard]] bool export_state(onloop::Connection& connection, std::vector<std::byte>& state) override;
  void import_state(onloop::Connection& connection, std::span<const std::byte> state) override;

 private:
  [[nodiscard]] std::string next_name(const onloop::Connection& connection);

  const Log& log_;
};

}  // namespace echo
