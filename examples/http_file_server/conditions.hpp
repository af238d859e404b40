#pragma once
#include <sys/stat.h>

#include <ctime>
#include <string>

#include "request.hpp"

namespace http {

/// What tells one version of a file from another.
struct Version {
  std::string tag;       ///< ETag, with its quotation marks
  std::time_t modified;  ///< Last-Modified
};
[[nodiscard]] Version version_of(const struct stat& status);

/// What the request's conditions make of it, in the order that RFC 9110 has for them: 200 (go on), 304 or 412.
[[nodiscard]] int evaluate_conditions(const Request& request, const Version& version);
/// Whether its Range counts: it does not if it is for another version (If-Range).
[[nodiscard]] bool range_counts(const Request& request, const Version& version);

}  // namespace http
