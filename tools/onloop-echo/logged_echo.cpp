#include "onloop-echo/logged_echo.hpp"

#include <onloop/address.hpp>

#include <string>

#include "common/command.hpp"

namespace echo {
namespace {

// What is to be said of a connection at its end, when its descriptor can no longer be asked.
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

void LoggedEcho::on_open(onloop::Connection& connection) {
  const std::string number = "#" + std::to_string(++opened_);
  const Seen& seen = connection.emplace_state<Seen>(Seen{number + " " + connection.peer().to_string()});
  log_.detail("opened " + seen.name + " on " + connection.local().to_string());
}

void LoggedEcho::on_data(onloop::Connection& connection, std::span<const std::byte> data) {
  connection.state<Seen>().bytes += data.size();
  Echo::on_data(connection, data);
}

void LoggedEcho::on_close(onloop::Connection& connection, std::error_code error) {
  LimitedEcho::on_close(connection, error);
  const Seen& seen = connection.state<Seen>();
  const std::string reason = error ? error.message() : "both sides had ended";
  log_.detail("closed " + seen.name + " after " + tools::counted(seen.bytes, "byte") + ": " + reason);
}

}  // namespace echo
