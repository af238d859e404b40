#pragma once
#include <sys/stat.h>

#include <ctime>
#include <string>

#include "request.hpp"

namespace http {

/// The data that distinguish one version of a file from another.
struct Version {
  std::string tag;       ///< ETag, with its quotation marks
  std::time_t modified;  ///< Last-Modified
};
[[nodiscard]] Version version_of(const struct stat& status);

/// Evaluates the conditions of the request in the order of RFC 9110.
///
/// @return 200 (continue), 304 or 412.
[[nodiscard]] int evaluate_conditions(const Request& request, const Version& version);
/// @return True if the Range header of the request counts. It does not count if it is for another version (If-Range).
[[nodiscard]] bool range_counts(const Request& request, const Version& version);

}  // namespace http
