#pragma once
#include <ctime>
#include <optional>
#include <string>

namespace http {

/// Formats a time like "Sun, 06 Nov 1994 08:49:37 GMT".
[[nodiscard]] std::string date_text(std::time_t time);
/// Reads a date in this form, or in one of the two older forms of RFC 9110.
///
/// @return Nothing if the text is not such a date.
[[nodiscard]] std::optional<std::time_t> parse_date(const std::string& text);

}  // namespace http
