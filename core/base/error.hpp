#pragma once
#include <string>
#include <string_view>
#include <system_error>

namespace onloop::detail {

/// Both take an errno value, positive or negative.
[[nodiscard]] std::error_code error_of(int error) noexcept;
/// Throws std::system_error whose what() reads "listen on 127.0.0.1:80: Permission denied". A zero byte in `what`,
/// which would end it there, is shown as \0.
[[noreturn]] void throw_error(int error, const std::string& what);
/// For text that becomes a C string, which a zero byte would cut off: another path, name or argument than was meant.
/// Throws EINVAL, "WHAT has a zero byte in it".
void refuse_zero_byte(std::string_view text, const std::string& what);

/// One line on standard error, in one write.
void log_line(const std::string& text) noexcept;
/// Ends the process with words: a misuse that can be neither reported to the caller nor survived.
[[noreturn]] void die(const char* words) noexcept;

}  // namespace onloop::detail
