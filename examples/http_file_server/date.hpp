#pragma once
#include <ctime>
#include <optional>
#include <string>

namespace http {

/// "Sun, 06 Nov 1994 08:49:37 GMT"
[[nodiscard]] std::string date_text(std::time_t time);
/// Reads that form, and the two that RFC 9110 has from earlier times; nothing if it is none of them.
[[nodiscard]] std::optional<std::time_t> parse_date(const std::string& text);

}  // namespace http
