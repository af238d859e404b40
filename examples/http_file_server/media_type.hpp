#pragma once
#include <string_view>

namespace http {

/// What to call the contents of a file of that name (Content-Type): known by its ending, else just bytes.
[[nodiscard]] std::string_view media_type_of(std::string_view path);

}  // namespace http
