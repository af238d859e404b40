#pragma once
#include <onloop/address.hpp>
#include <onloop/loop.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace echo {

/// What is logged to standard error. quiet: errors. normal: also starting and stopping. verbose: also each connection.
enum class Verbosity { quiet, normal, verbose };

/// The options of the command line.
struct Options {
  std::vector<onloop::Address> listen;
  std::string loop = "native";
  std::optional<onloop::Hosting> hosting;  ///< none: the default of the loop
  std::size_t workers = 1;
  std::size_t max_connections = SIZE_MAX;    ///< of all workers together
  std::chrono::nanoseconds idle_timeout{0};  ///< zero: none
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds{5};
  std::chrono::nanoseconds stats_period{0};  ///< zero: none
  std::optional<onloop::Address> control;    ///< of the control socket; none: there is no such socket
  std::string takeover;  ///< the control path of a running server; empty: none. It needs workers == 1
  bool replace_stale = false;
  Verbosity verbosity = Verbosity::normal;
};

/// Reads and checks the command line.
///
/// @return The options, or nothing if the command line asked for --help, --version or --list-loops. The text has then
///         been printed.
/// @throws tools::UsageError if the command line is wrong: also if there is no such loop, if an address is malformed,
///         or if several workers cannot do what it asks for.
[[nodiscard]] std::optional<Options> read_options(int argc, const char* const* argv);

}  // namespace echo
