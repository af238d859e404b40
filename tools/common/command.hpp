#pragma once
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

/// What the commands share: reading a command line, and ending with one clear line and a fitting exit status.
namespace tools {

constexpr int kExitRunTime = 1;
constexpr int kExitUsage = 2;

/// The command line is wrong; what() says how, in one line.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  /// What the library refused, without its error code: "Invalid argument" says less than the words before it.
  explicit UsageError(const std::system_error& refusal);
};

/// Reads the command line into what the app's options are bound to. False: --help or --version was asked for and has
/// been printed. Throws UsageError.
[[nodiscard]] bool parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// An option whose value is converted by `take`, which may throw UsageError; if given twice, the last one counts.
CLI::Option* add_value(CLI::App& app, const std::string& name, const std::string& value_name,
                       const std::string& description, std::function<void(const std::string&)> take);

/// Seconds, with a fraction if wanted; at least 0. Throws UsageError that names the option.
[[nodiscard]] std::chrono::nanoseconds to_seconds(std::string_view option, const std::string& text);
/// A whole number from `least` to `most`. Throws UsageError that names the option.
[[nodiscard]] std::uint64_t to_count(std::string_view option, const std::string& text, std::uint64_t least,
                                     std::uint64_t most);

/// The shortest decimal form: 5, 0.25.
[[nodiscard]] std::string seconds_text(std::chrono::nanoseconds duration);
/// "1 connection", "3 connections".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);

/// The text as one line that does nothing to a terminal: control characters, and bytes that are no UTF-8, become \xNN.
[[nodiscard]] std::string one_line(std::string_view text);
/// One line, "command: message", on standard error.
void print_line(std::string_view command, std::string_view message);
/// Writes to standard output and flushes. Throws std::system_error if that fails.
void print_out(std::string_view text);

/// Runs `body` and returns its exit status, or 2 for a UsageError and 1 for any other exception, after a line that says
/// what was wrong.
[[nodiscard]] int run_command(std::string_view command, const std::function<int()>& body);

}  // namespace tools
