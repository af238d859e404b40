#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace load {

/// The options of the command line.
struct Options {
  std::string address = "127.0.0.1:8080";
  std::string loop = "native";
  std::size_t connections = 50;  ///< connections that carry messages
  std::size_t idle = 0;          ///< connections that only stay open
  std::size_t size = 64;         ///< bytes of a message
  std::size_t window = 1;        ///< messages in flight on each connection
  std::chrono::nanoseconds duration = std::chrono::seconds{5};
  std::optional<std::uint64_t> messages;  ///< in total; replaces the duration
  std::chrono::nanoseconds warmup{0};
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds{10};
  bool json = false;
  bool progress = false;
};

/// Reads and checks the command line.
///
/// @return The options, or nothing if the command line asked for --help or --version. The text has then been printed.
/// @throws tools::UsageError if the command line is wrong.
[[nodiscard]] std::optional<Options> read_options(int argc, const char* const* argv);

}  // namespace load
