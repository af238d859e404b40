#pragma once
#include <string_view>

namespace http {

/// @return The Content-Type of a file with this name. It depends on the ending of the name. An unknown ending means
/// just bytes.
[[nodiscard]] std::string_view media_type_of(std::string_view path);

}  // namespace http
