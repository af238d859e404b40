#pragma once
#include <string>
#include <system_error>

namespace onloop::detail {

/// Both take an errno value, positive or negative.
[[nodiscard]] std::error_code error_of(int error) noexcept;
/// Throws std::system_error whose what() reads "listen on 127.0.0.1:80: Permission denied".
[[noreturn]] void throw_error(int error, const std::string& what);

/// One line on standard error, in one write.
void log_line(const std::string& text) noexcept;
/// Ends the process with words: a misuse that can be neither reported to the caller nor survived.
[[noreturn]] void die(const char* words) noexcept;

}  // namespace onloop::detail
