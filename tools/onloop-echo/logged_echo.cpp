#include "onloop-echo/logged_echo.hpp"

#include <onloop/address.hpp>

#include <cstring>
#include <string>

#include "common/command.hpp"

namespace echo {
namespace {

// What the log says at the end of a connection. Its descriptor can no longer tell the name then.
struct Seen {
  std::string name;
  std::uint64_t bytes = 0;
};

}  // namespace

bool LoggedEcho::on_accept(const onloop::Address& peer) {
  if (LimitedEcho::on_accept(peer)) return true;
  log_.detail("turned away " + peer.to_string() + ": --max-connections is reached");
  return false;
}

std::string LoggedEcho::next_name(const onloop::Connection& connection) {
  return "#" + std::to_string(connection_limit().next_number()) + " " + connection.peer().to_string();
}

void LoggedEcho::on_open(onloop::Connection& connection) {
  LimitedEcho::on_open(connection);
  const Seen& seen = connection.emplace_state<Seen>(Seen{next_name(connection)});
  log_.detail("opened " + seen.name + " on " + connection.local().to_string());
}

void LoggedEcho::on_data(onloop::Connection& connection, std::span<const std::byte> data) {
  connection.state<Seen>().bytes += data.size();
  Echo::on_data(connection, data);
}

void LoggedEcho::on_close(onloop::Connection& connection, std::error_code error) {
  LimitedEcho::on_close(connection, error);
  const Seen& seen = connection.state<Seen>();
  const std::string reason = error ? error.message() : "both sides ended it";
  log_.detail("closed " + seen.name + " after " + tools::counted(seen.bytes, "byte") + ": " + reason);
}

// After a takeover, a connection has a new number, and its count of bytes goes on. A process without --verbose does not
// count the bytes, so it exports no count.

bool LoggedEcho::export_state(onloop::Connection& connection, std::vector<std::byte>& state) {
  const auto bytes = std::as_bytes(std::span{&connection.state<Seen>().bytes, 1});
  state.assign(bytes.begin(), bytes.end());
  return true;
}

void LoggedEcho::import_state(onloop::Connection& connection, std::span<const std::byte> state) {
  LimitedEcho::import_state(connection, state);
  Seen& seen = connection.emplace_state<Seen>(Seen{next_name(connection)});
  if (state.size() == sizeof seen.bytes) std::memcpy(&seen.bytes, state.data(), sizeof seen.bytes);
  log_.detail("took over " + seen.name + " on " + connection.local().to_string());
}

}  // namespace echo
