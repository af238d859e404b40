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

/// What happened, in order: "a: data hello", "timer".
using Trace = std::vector<std::string>;

/// Connections that do what they are told, timers and tasks, in one context. The stimuli come one by one, each when the
/// last has had its effect, so that the order of events is the library's and not the kernel's. UNIX sockets, whose
/// bytes, ends and resets are there when the call that causes them returns.
class Session : public Protocol {
 public:
  /// `turn` is one iteration of the loop, which does not wait. After `quiet` of them nothing more can happen.
  Session(const Loop& loop, std::function<void(Context&)> turn, int quiet);

  /// Everything, up to the destruction of the context. The trace has what the peers have got, too.
  Trace play();

  /// Is called at the beginning and at the end of each callback, and between turns.
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
  /// What runs in a timer or as a task.
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
