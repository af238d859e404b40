#pragma once
#include <onloop/onloop.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "conformance/descriptors.hpp"

namespace onloop::conformance {

using namespace std::chrono_literals;

/// The events in their order, for example "a: data hello" and "timer".
using Trace = std::vector<std::string>;

/// A scripted session in one context: connections, timers and tasks that do what the script says. Each stimulus comes
/// only when the last one has had its effect. So the library determines the order of events, and the kernel does not.
/// The session uses UNIX sockets. Their bytes, ends and resets have arrived when the call that causes them returns.
class Session : public Protocol {
 public:
  /// @param turn Makes one iteration of the loop and does not wait.
  /// @param quiet After so many iterations nothing more can happen.
  Session(const Loop& loop, std::function<void(Context&)> turn, int quiet);

  /// Runs the whole session, up to the destruction of the context. The trace also has what the peers have received.
  Trace play();

  /// Called at the beginning and at the end of each callback, and between turns.
  std::function<void(Context&)> at_moment;

 private:
  struct Line {
    Descriptor far;
    Connection* connection;
  };

  void open(const std::string& name);
  void settle();
  void happen(const std::string& what, const std::function<void()>& stimulus);
  void tell(const std::string& name, const std::string& what);
  void moment();
  void note(const std::string& what);
  void note(Connection& connection, const std::string& what);
  /// The action that a timer or a task runs.
  [[nodiscard]] std::function<void()> noting(const std::string& what, std::function<void()> then = {});
  void obey(Connection& connection, std::span<const std::byte> data);

  void on_open(Connection& connection) override;
  void on_data(Connection& connection, std::span<const std::byte> data) override;
  void on_drain(Connection& connection) override;
  void on_end(Connection& connection) override;
  void on_close(Connection& connection, std::error_code error) override;

  std::function<void(Context&)> turn_;
  const int quiet_;
  std::unique_ptr<Context> context_;
  std::map<std::string, Line> lines_;
  std::vector<Timer> timers_;
  Trace trace_;
};

}  // namespace onloop::conformance
