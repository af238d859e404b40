#pragma once
#include <string>
#include <string_view>
#include <system_error>

namespace onloop::detail {

/// The std::error_code of an errno value, which may be positive or negative.
[[nodiscard]] std::error_code error_of(int error) noexcept;
/// Throws std::system_error. Its what() reads like "listen on 127.0.0.1:80: Permission denied".
///
/// @param error An errno value, positive or negative.
/// @param what What failed. A zero byte in it would end the message there, so a zero byte is shown as \0.
[[noreturn]] void throw_error(int error, const std::string& what);
/// Throws std::system_error (EINVAL, "WHAT has a zero byte in it") if `text` contains a zero byte. It is for text that
/// becomes a C string: the zero byte would cut the string off, and name another path, name or argument than was meant.
void refuse_zero_byte(std::string_view text, const std::string& what);

/// Writes one line to standard error, with one call of write(2). Control characters are shown as \xNN.
void log_line(const std::string& text) noexcept;
/// Logs the text and aborts the process. It is for a misuse that can't be reported to the caller and after which the
/// process can't go on.
[[noreturn]] void die(const char* words) noexcept;

}  // namespace onloop::detail
