#pragma once
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
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

/// A command that came through the control socket. A value that can be kept, so that the answer may come later; until
/// then its connection reads nothing and serves no other command. Each must be answered once, by ok() or error().
class Request {
 public:
  /// The words that follow the command's name.
  [[nodiscard]] const std::vector<std::string>& arguments() const noexcept { return arguments_; }
  /// Whose descriptor a command may use meanwhile, for more than lines can say; a dup(2) of it, to watch it. Null once
  /// the client is gone.
  [[nodiscard]] onloop::Connection* connection() const noexcept { return connection_.get(); }

  /// Answers "ok TEXT". `then` runs once the kernel has all of the answer, or the client is gone.
  void ok(std::string_view text, onloop::Task then = {}) const;
  /// Answers "error TEXT".
  void error(std::string_view text) const;
  /// Answers "ok TEXT", and then leaves the conversation to `borrower`, which gets a descriptor of its own for it. No
  /// command of this client's is served any more.
  void lend(std::string_view text, std::function<void(int)> borrower) const;

 private:
  friend class Control;
  Request(Control& control, onloop::Ref connection, std::vector<std::string> arguments) noexcept
      : control_(&control), connection_(std::move(connection)), arguments_(std::move(arguments)) {}

  Control* control_;
  onloop::Ref connection_;
  std::vector<std::string> arguments_;
};

/// The protocol of the control socket: a command a line, answered in order by one line each, "ok TEXT" or
/// "error TEXT". Only for clients of the same user: the socket's mode says so, but may have been changed.
class Control final : public onloop::Protocol {
 public:
  /// Answers the request, now or later. What it throws before it has is the answer.
  using Command = std::function<void(const Request&)>;
  using Commands = std::map<std::string, Command, std::less<>>;

  explicit Control(Commands commands) : commands_(std::move(commands)) {}

  /// How its connections have to be listened for: answers wait for the kernel one by one.
  [[nodiscard]] static onloop::Limits limits() noexcept;
  /// What its own connections have done, to be told from the service's.
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
