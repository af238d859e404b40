#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace http {

/// Finds the path below the document root that the target of a request asks for. The path is decoded and has no leading
/// slash and no query. It is empty for the root itself. It may contain ".." and may lead anywhere.
///
/// @return Nothing if the target has no path, or has a path that no file can have: a wrong escape, or an escaped zero
/// byte or slash.
[[nodiscard]] std::optional<std::string> path_of(std::string_view target);

/// @return The target that path_of turns into `path`. Characters with a special meaning are escaped.
[[nodiscard]] std::string target_of(std::string_view path);

}  // namespace http
