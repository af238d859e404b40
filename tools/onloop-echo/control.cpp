#include "onloop-echo/control.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <sstream>
#include <utility>

#include "common/command.hpp"

namespace echo {
namespace {

// Every command is far shorter. A client that sends no newline makes the server keep this much and no more.
constexpr std::size_t kLongestLine = 4096;
constexpr std::size_t kLongestQuote = 40;

bool is_same_user(int socket) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

std::vector<std::string> words_of(std::string_view line) {
  std::istringstream stream{std::string{line}};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(std::move(word));
  return words;
}

}  // namespace

/// The state of one control connection. The connection reads only while no command is being served.
struct Control::Session {
  std::string input;         // received and not yet served
  bool lent = false;         // Request::lend() gave the conversation to somebody else
  std::size_t unsent = 0;    // bytes of an answer that the kernel has not yet accepted
  onloop::Task when_sent{};  // runs after the kernel has accepted that answer
};

// ---- requests ----

void Request::ok(std::string_view text, onloop::Task then) const {
  control_->answer(connection_, "ok " + std::string{text}, std::move(then));
}

void Request::error(std::string_view text) const {
  control_->answer(connection_, "error " + std::string{text}, {});
}

void Request::lend(std::string_view text, onloop::Function<void(onloop::Descriptor)> borrower) const {
  onloop::Connection* const client = connection();
  if (client == nullptr) return;
  client->state<Control::Session>().lent = true;
  ok(text, [lender = connection_, borrower = std::move(borrower)]() mutable {
    if (!lender) return;
    onloop::Descriptor copy(fcntl(lender->fd(), F_DUPFD_CLOEXEC, 0));
    if (copy) {
      borrower(std::move(copy));
    } else {
      lender->abort(std::error_code(errno, std::generic_category()));
    }
  });
}

// ---- connections ----

/// A client that does not read its answers is not served further. So the server never holds more than one answer for
/// it.
onloop::Limits Control::limits() noexcept {
  onloop::Limits limits;
  limits.high_water = limits.low_water = 0;
  return limits;
}

void Control::on_open(onloop::Connection& connection) {
  ++statistics_.accepted;
  ++statistics_.connections;
  connection.emplace_state<Session>();
  if (is_same_user(connection.fd())) return;
  say(connection, "error only the user that runs the server may control it");
  connection.close();
}

void Control::on_data(onloop::Connection& connection, std::span<const std::byte> data) {
  statistics_.bytes_received += data.size();
  connection.state<Session>().input.append(reinterpret_cast<const char*>(data.data()), data.size());
  serve(connection);
}

void Control::on_drain(onloop::Connection& connection) {
  auto& session = connection.state<Session>();
  statistics_.bytes_sent += std::exchange(session.unsent, 0);
  if (onloop::Task then = std::move(session.when_sent)) then();
  serve_later(connection);
}

/// All whole lines have been served by now, because the connection does not report its end earlier.
void Control::on_end(onloop::Connection& connection) {
  // The beginning of a command may be another command, so an unfinished line is never run.
  if (!connection.state<Session>().input.empty()) {
    say(connection, "error the last line has no newline at its end, so it was not run");
  }
  connection.close();
}

void Control::on_close(onloop::Connection& connection, std::error_code error) {
  ++statistics_.closed;
  --statistics_.connections;
  auto& session = connection.state<Session>();
  if (!error) statistics_.bytes_sent += session.unsent;
  if (onloop::Task then = std::move(session.when_sent)) then();
}

// ---- lines ----

void Control::serve(onloop::Connection& connection) {
  auto& session = connection.state<Session>();
  if (session.lent || connection.fd() < 0) return;  // after close(), only on_close follows
  std::string& input = session.input;
  const std::size_t end = input.find('\n');
  if (std::min(end, input.size()) > kLongestLine) {
    say(connection, "error a command has at most " + std::to_string(kLongestLine) + " bytes");
    connection.close();
  } else if (end == std::string::npos) {
    connection.resume_reading();
  } else {
    connection.pause_reading();
    const std::string line = input.substr(0, end);
    input.erase(0, end + 1);
    perform(connection, line);
  }
}

void Control::perform(onloop::Connection& connection, std::string_view line) {
  std::vector<std::string> words = words_of(line);
  const auto command = words.empty() ? commands_.end() : commands_.find(words.front());
  const std::string name = words.empty() ? "" : words.front().substr(0, kLongestQuote);
  if (!words.empty()) words.erase(words.begin());
  const Request request{*this, connection.ref(), std::move(words)};
  if (name.empty()) {
    request.error("an empty line is not a command (commands: " + known_commands() + ")");
  } else if (command == commands_.end()) {
    request.error("unknown command \"" + name + "\" (commands: " + known_commands() + ")");
  } else {
    try {
      command->second(request);
    } catch (const std::exception& error) {
      request.error(error.what());
    }
  }
}

void Control::answer(const onloop::Ref& asker, const std::string& line, onloop::Task then) {
  onloop::Connection* const connection = asker.get();
  if (connection == nullptr) {
    if (then) then();
    return;
  }
  say(*connection, line);
  auto& session = connection->state<Session>();
  if (session.unsent != 0) {
    session.when_sent = std::move(then);
    return;
  }
  if (then) then();
  serve_later(*connection);
}

/// Each command is served in a turn of its own. So many commands do not keep other clients waiting, and a move is over
/// before the next command is served.
void Control::serve_later(onloop::Connection& connection) {
  connection.context().post([this, asker = connection.ref()] {
    if (onloop::Connection* const found = asker.get()) serve(*found);
  });
}

void Control::say(onloop::Connection& connection, std::string line) {
  line = tools::one_line(line) + "\n";
  if (connection.write(line) == onloop::Flow::closed) return;
  auto& session = connection.state<Session>();
  session.unsent = connection.queued_bytes();
  statistics_.bytes_sent += line.size() - session.unsent;
}

std::string Control::known_commands() const {
  std::string names;
  for (const auto& [name, command] : commands_) names += (names.empty() ? "" : ", ") + name;
  return names;
}

}  // namespace echo
