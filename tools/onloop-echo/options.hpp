#pragma once
#include <onloop/loop.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace echo {

/// How much goes to standard error: errors; also starting and stopping; also each connection.
enum class Verbosity { quiet, normal, verbose };

/// What the command line asks for.
struct Options {
  std::vector<std::string> listen;  ///< each in a form that onloop::Address::parse reads
  std::string loop = "native";
  std::optional<onloop::Hosting> hosting;  ///< none: as the loop has it
  std::size_t workers = 1;
  std::size_t max_connections = SIZE_MAX;    ///< of all workers together
  std::chrono::nanoseconds idle_timeout{0};  ///< zero: none
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds{5};
  std::chrono::nanoseconds stats_period{0};  ///< zero: none
  std::string control;                       ///< the address of the control socket; empty: none
  std::string takeover;                      ///< the path of a running server's; empty: none; else there is one worker
  bool replace_stale = false;
  Verbosity verbosity = Verbosity::normal;
};

/// Reads the command line. Nothing: it asked for --help, --version or --list-loops, which has been printed. Throws
/// tools::UsageError, also for an address or a loop that there cannot be, and for what several workers can't do.
[[nodiscard]] std::optional<Options> read_options(int argc, const char* const* argv);

}  // namespace echo
