#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace load {

/// What the command line asks for.
struct Options {
  std::string address = "127.0.0.1:8080";
  std::string loop = "native";
  std::size_t connections = 50;  ///< those that carry messages
  std::size_t idle = 0;          ///< those that are only open
  std::size_t size = 64;         ///< bytes of a message
  std::size_t window = 1;        ///< messages in flight on each connection
  std::chrono::nanoseconds duration = std::chrono::seconds{5};
  std::optional<std::uint64_t> messages;  ///< in all, in place of a duration
  std::chrono::nanoseconds warmup{0};
  std::chrono::nanoseconds connect_timeout = std::chrono::seconds{10};
  bool json = false;
  bool progress = false;
};

/// Reads the command line. Nothing: it asked for --help or --version, which has been printed. Throws tools::UsageError.
[[nodiscard]] std::optional<Options> read_options(int argc, const char* const* argv);

}  // namespace load
