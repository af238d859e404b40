#pragma once
#include <onloop/loop.hpp>
#include <onloop/options.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace http {

/// What the command lines of the three servers ask for.
struct Options {
  std::string root;
  std::string listen = "127.0.0.1:0";
  std::chrono::nanoseconds timeout = std::chrono::seconds{30};
  // Only the server with a loop takes these.
  std::string loop = "native";
  std::optional<onloop::Hosting> hosting;
  onloop::ContextOptions context;
};

enum class Kind { with_loop, without_loop };

/// Reads the command line and runs the server. Returns the exit status: 0, 1 if it can't run, 2 for a wrong command
/// line; both after a line that says why.
[[nodiscard]] int run_server(Kind kind, int argc, const char* const* argv,
                             const std::function<void(const Options&)>& serve);

/// The line that says that the server is ready.
void say_listening(const std::string& address, const std::string& name);

}  // namespace http
