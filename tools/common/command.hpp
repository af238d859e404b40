#pragma once
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

/// What the commands share: they read a command line, and they report an error with one line and an exit status.
namespace tools {

constexpr int kExitRunTime = 1;
constexpr int kExitUsage = 2;

/// The command line is wrong. what() says in one line what is wrong.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  /// Takes the message of an error that the library has thrown, without the text of its error code. The text of the
  /// code, such as "Invalid argument", adds nothing to the message before it.
  explicit UsageError(const std::system_error& refusal);
};

/// Reads the command line into the variables that the options of `app` are bound to.
///
/// @return False if the command line asked for --help or --version. The text has then been printed.
/// @throws UsageError if the command line is wrong.
[[nodiscard]] bool parse_command_line(CLI::App& app, int argc, const char* const* argv);

/// Adds an option with a value. If the option is given more than once, the last value counts.
///
/// @param take  Converts and stores the value. It may throw UsageError.
CLI::Option* add_value(CLI::App& app, const std::string& name, const std::string& value_name,
                       const std::string& description, std::function<void(const std::string&)> take);

/// Converts a number of seconds, which may have a fraction and must not be negative.
///
/// @throws UsageError that names the option.
[[nodiscard]] std::chrono::nanoseconds to_seconds(std::string_view option, const std::string& text);
/// Converts a whole number from `least` to `most`.
///
/// @throws UsageError that names the option.
[[nodiscard]] std::uint64_t to_count(std::string_view option, const std::string& text, std::uint64_t least,
                                     std::uint64_t most);

/// The time in seconds, in the shortest decimal form: "5", "0.25".
[[nodiscard]] std::string seconds_text(std::chrono::nanoseconds duration);
/// The number with its noun, in the plural if the number is not 1: "1 connection", "3 connections".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);

/// The text as one line that is safe to print on a terminal. Control characters and bytes that are not UTF-8 become
/// \xNN.
[[nodiscard]] std::string one_line(std::string_view text);
/// Prints one line, "command: message", on standard error.
void print_line(std::string_view command, std::string_view message);
/// Writes to standard output and flushes it.
///
/// @throws std::system_error if that fails.
void print_out(std::string_view text);

/// Runs `body`. If `body` throws, prints one line that says what is wrong.
///
/// @return The exit status: that of `body`, or 2 after a UsageError, or 1 after any other exception.
[[nodiscard]] int run_command(std::string_view command, const std::function<int()>& body);

}  // namespace tools
