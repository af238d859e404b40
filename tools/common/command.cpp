#include "common/command.hpp"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <exception>
#include <utility>

namespace tools {
namespace {

std::string without_code(const std::system_error& error) {
  std::string text = error.what();
  const std::string code = ": " + error.code().message();
  if (text.size() > code.size() && text.ends_with(code)) text.resize(text.size() - code.size());
  return text;
}

std::string describe_leftover(const std::string& argument) {
  if (argument.size() > 1 && argument.front() == '-') return "unknown option " + argument;
  return "unexpected argument '" + argument + "'";
}

}  // namespace

UsageError::UsageError(const std::system_error& refusal) : std::runtime_error(without_code(refusal)) {}

bool parse_command_line(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::CallForHelp&) {
    print_out(app.help());
    return false;
  } catch (const CLI::CallForVersion&) {
    print_out(app.version() + "\n");
    return false;
  } catch (const CLI::ParseError& error) {
    const auto leftover = app.remaining();
    const bool extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !leftover.empty();
    throw UsageError((extras ? describe_leftover(leftover.front()) : error.what()) + " (see " + app.get_name() +
                     " --help)");
  }
}

CLI::Option* add_value(CLI::App& app, const std::string& name, const std::string& value_name,
                       const std::string& description, std::function<void(const std::string&)> take) {
  return app.add_option_function<std::string>(name, std::move(take), description)
      ->type_name(value_name)    // for errors
      ->option_text(value_name)  // for --help, where it keeps other remarks out
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

std::chrono::nanoseconds to_seconds(std::string_view option, const std::string& text) {
  // Far above any use, and far below where a deadline in nanoseconds would overflow.
  constexpr double kMost = 1e9;
  double seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seconds);
  if (error != std::errc{} || stop != end || !std::isfinite(seconds)) {
    throw UsageError(std::string{option} + ": '" + text + "' is not a number of seconds, like 5 or 0.25");
  }
  if (seconds < 0) throw UsageError(std::string{option} + ": " + text + " is negative; 0 or more seconds are needed");
  if (seconds > kMost) throw UsageError(std::string{option} + ": " + text + " seconds are too long, at most 1e9");
  const auto rounded = std::chrono::round<std::chrono::nanoseconds>(std::chrono::duration<double>{seconds});
  // Zero has a meaning of its own, so the smallest time must not become it.
  return seconds > 0 && rounded.count() == 0 ? std::chrono::nanoseconds{1} : rounded;
}

std::uint64_t to_count(std::string_view option, const std::string& text, std::uint64_t least, std::uint64_t most) {
  std::uint64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  if (stop != end || (error != std::errc{} && error != std::errc::result_out_of_range)) {
    throw UsageError(std::string{option} + ": '" + text + "' is not a whole number");
  }
  if (error != std::errc{} || count > most) {
    throw UsageError(std::string{option} + ": " + text + " is too much, at most " + std::to_string(most));
  }
  if (count < least) {
    throw UsageError(std::string{option} + ": " + text + " is too little, at least " + std::to_string(least));
  }
  return count;
}

std::string seconds_text(std::chrono::nanoseconds duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", std::chrono::duration<double>{duration}.count());
  return text;
}

std::string counted(std::uint64_t count, std::string_view noun) {
  std::string text = std::to_string(count) + " " + std::string{noun};
  if (count != 1) text += 's';
  return text;
}

std::string one_line(std::string_view text) {
  std::string line{text};
  for (char& character : line) {
    const auto code = static_cast<unsigned char>(character);
    if (code < 0x20 || code == 0x7f) character = '?';
  }
  return line;
}

void print_line(std::string_view command, std::string_view message) {
  const std::string line = std::string{command} + ": " + one_line(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // unbuffered: one system call, one line
}

void print_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw std::system_error(errno, std::generic_category(), "write to standard output");
  }
}

int run_command(std::string_view command, const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& error) {
    print_line(command, error.what());
    return kExitUsage;
  } catch (const std::exception& error) {
    print_line(command, error.what());
    return kExitRunTime;
  }
}

}  // namespace tools
