#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace http {

/// The path below a document root that a request's target asks for: decoded, without a leading slash and without a
/// query; empty for the root itself. It may have dots and may lead anywhere. Nothing if the target has no path, or one
/// that no file can have: a malformed escape, or an escaped zero byte or slash.
[[nodiscard]] std::optional<std::string> path_of(std::string_view target);

/// The target that path_of turns into `path`, of characters that mean nothing to anybody.
[[nodiscard]] std::string target_of(std::string_view path);

}  // namespace http
