#include "common/command.hpp"

#include <algorithm>
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

/// The size in bytes of the first character, or 0 if that character is not printable.
///
/// Bytes that are not valid UTF-8 are not printable, because a terminal may read each byte as a character: 0x9b begins
/// an escape sequence. The control characters U+0080 to U+009F are not printable either.
std::size_t printable(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  const bool control = first == 0xc2 && second < 0xa0;
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool none = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return control || overlong || none ? 0 : size;
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
      ->type_name(value_name)    // shown in error messages
      ->option_text(value_name)  // shown by --help, in place of the remarks that CLI11 adds
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

std::chrono::nanoseconds to_seconds(std::string_view option, const std::string& text) {
  // Nobody needs a longer time, and a deadline in nanoseconds is still far from an overflow.
  constexpr double kMost = 1e9;
  double seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seconds);
  if (error != std::errc{} || stop != end || !std::isfinite(seconds)) {
    throw UsageError(std::string{option} + ": '" + text + "' is not a number of seconds; write it like 5 or 0.25");
  }
  if (seconds < 0) throw UsageError(std::string{option} + ": " + text + " is negative; the minimum is 0 seconds");
  if (seconds > kMost) throw UsageError(std::string{option} + ": " + text + " is too long; the maximum is 1e9 seconds");
  const auto rounded = std::chrono::round<std::chrono::nanoseconds>(std::chrono::duration<double>{seconds});
  // Zero has a meaning of its own, so a very short time must not be rounded to zero.
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
    throw UsageError(std::string{option} + ": " + text + " is too large; the maximum is " + std::to_string(most));
  }
  if (count < least) {
    throw UsageError(std::string{option} + ": " + text + " is too small; the minimum is " + std::to_string(least));
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
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const std::size_t size = printable(text);
    if (size != 0) {
      line.append(text.substr(0, size));
    } else {
      constexpr char kDigits[] = "0123456789abcdef";
      const auto code = static_cast<unsigned char>(text.front());
      line.append({'\\', 'x', kDigits[code >> 4], kDigits[code & 0xf]});
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return line;
}

void print_line(std::string_view command, std::string_view message) {
  const std::string line = std::string{command} + ": " + one_line(message) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // stderr is unbuffered: one system call writes the line
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
