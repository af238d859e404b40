#pragma once
#include <onloop/address.hpp>
#include <onloop/loop.hpp>
#include <onloop/options.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

namespace http {

/// The options on the command lines of the three servers.
struct Options {
  std::string root;
  onloop::Address listen = onloop::Address::parse("127.0.0.1:0");
  std::chrono::nanoseconds timeout = std::chrono::seconds{30};
  // Only the server with a loop takes the following options.
  std::string loop = "native";
  std::optional<onloop::Hosting> hosting;
  onloop::ContextOptions context;
};

enum class Kind { with_loop, without_loop };

/// Reads the command line and runs the server.
///
/// @return The exit status: 0, 1 if the server can't run, 2 for a wrong command line. For 1 and 2 it has printed the
/// reason.
[[nodiscard]] int run_server(Kind kind, int argc, const char* const* argv,
                             const std::function<void(const Options&)>& serve);

/// Prints the line that says that the server is ready.
void say_listening(const onloop::Address& address, const std::string& name);

}  // namespace http
