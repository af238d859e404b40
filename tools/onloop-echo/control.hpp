#pragma once
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/descriptor.hpp>
#include <onloop/function.hpp>
#include <onloop/protocol.hpp>
#include <onloop/task.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace echo {

class Control;

/// A command that came through the control socket.
///
/// A request is a value that may be copied and kept, so that the answer may come later. Until the answer, the
/// connection reads nothing and serves no other command. Each request must be answered once, by ok(), error() or
/// lend().
class Request {
 public:
  /// The words that follow the command's name.
  [[nodiscard]] const std::vector<std::string>& arguments() const noexcept { return arguments_; }
  /// The connection of the client, or null after the client is gone. Until it answers, a command may use the descriptor
  /// of the connection for more than lines of text. To watch the descriptor, the command must dup(2) it.
  [[nodiscard]] onloop::Connection* connection() const noexcept { return connection_.get(); }

  /// Answers "ok TEXT". `then` runs when the kernel has accepted the whole answer, or when the client is gone.
  void ok(std::string_view text, onloop::Task then = {}) const;
  /// Answers "error TEXT".
  void error(std::string_view text) const;
  /// Answers "ok TEXT" and then gives the conversation to `borrower`, which gets a descriptor of its own for it. The
  /// control socket serves no further command of this client.
  void lend(std::string_view text, onloop::Function<void(onloop::Descriptor)> borrower) const;

 private:
  friend class Control;
  Request(Control& control, onloop::Ref connection, std::vector<std::string> arguments) noexcept
      : control_(&control), connection_(std::move(connection)), arguments_(std::move(arguments)) {}

  Control* control_;
  onloop::Ref connection_;
  std::vector<std::string> arguments_;
};

/// The protocol of the control socket. Each line is a command, and each command is answered in order by one line,
/// "ok TEXT" or "error TEXT".
///
/// Only clients of the same user are served. The mode of the socket says the same, but somebody may have changed it, so
/// the protocol checks the user of each client.
class Control final : public onloop::Protocol {
 public:
  /// Answers the request, now or later. If it throws before it has answered, the exception becomes the answer.
  using Command = std::function<void(const Request&)>;
  using Commands = std::map<std::string, Command, std::less<>>;

  explicit Control(Commands commands) : commands_(std::move(commands)) {}

  /// The limits that the listener of the control socket must have. They make each answer wait for the kernel.
  [[nodiscard]] static onloop::Limits limits() noexcept;
  /// What the control connections have done. The service does not count them in its own statistics.
  [[nodiscard]] const onloop::Statistics& statistics() const noexcept { return statistics_; }

  void on_open(onloop::Connection& connection) override;
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
  void on_drain(onloop::Connection& connection) override;
  void on_end(onloop::Connection& connection) override;
  void on_close(onloop::Connection& connection, std::error_code error) override;

 private:
  friend class Request;
  struct Session;

  void serve(onloop::Connection& connection);
  void serve_later(onloop::Connection& connection);
  void perform(onloop::Connection& connection, std::string_view line);
  void answer(const onloop::Ref& asker, const std::string& line, onloop::Task then);
  void say(onloop::Connection& connection, std::string line);
  [[nodiscard]] std::string known_commands() const;

  const Commands commands_;
  onloop::Statistics statistics_;
};

}  // namespace echo
