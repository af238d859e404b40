#include "conditions.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string_view>

#include "date.hpp"

namespace http {
namespace {

enum class Comparison { strong, weak };

/// @return True if `list` contains `tag`. The list has quoted tags, or a star for any tag. The tags that this server
/// makes have no comma.
bool names(std::string_view list, std::string_view tag, Comparison comparison) {
  while (true) {
    list.remove_prefix(std::min(list.find_first_not_of(", \t"), list.size()));
    if (list.empty()) return false;
    std::string_view each = list.substr(0, list.find_first_of(", \t"));
    list.remove_prefix(each.size());
    if (comparison == Comparison::weak && each.starts_with("W/")) each.remove_prefix(2);
    if (each == "*" || each == tag) return true;
  }
}

bool changed_since(const std::string& date, const Version& version, bool if_no_date) {
  const std::optional<std::time_t> since = parse_date(date);
  return since ? version.modified > *since : if_no_date;
}

}  // namespace

Version version_of(const struct stat& status) {
  std::array<char, 64> tag{};
  const int length = std::snprintf(
      tag.data(), tag.size(), "\"%llx.%lx-%llx\"", static_cast<unsigned long long>(status.st_mtim.tv_sec),
      static_cast<unsigned long>(status.st_mtim.tv_nsec), static_cast<unsigned long long>(status.st_size));
  // A server must not send a date in the future.
  return {std::string(tag.data(), static_cast<std::size_t>(length)),
          std::min(status.st_mtim.tv_sec, std::time(nullptr))};
}

int evaluate_conditions(const Request& request, const Version& version) {
  if (!request.if_match.empty()) {
    if (!names(request.if_match, version.tag, Comparison::strong)) return 412;
  } else if (!request.if_unmodified_since.empty()) {
    if (changed_since(request.if_unmodified_since, version, false)) return 412;
  }
  if (!request.if_none_match.empty()) {
    if (names(request.if_none_match, version.tag, Comparison::weak)) return 304;
  } else if (!request.if_modified_since.empty()) {
    if (!changed_since(request.if_modified_since, version, true)) return 304;
  }
  return 200;
}

bool range_counts(const Request& request, const Version& version) {
  if (request.if_range.empty() || request.if_range == version.tag) return true;
  const std::optional<std::time_t> date = parse_date(request.if_range);
  return date && *date == version.modified;
}

}  // namespace http
