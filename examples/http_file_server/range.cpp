#include "range.hpp"

#include <strings.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace http {
namespace {

constexpr std::string_view kUnit = "bytes=";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// @return The number that the whole text is. A number that is too large becomes the largest one.
std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || stopped != end) return {};
  return error == std::errc::result_out_of_range ? std::numeric_limits<std::uint64_t>::max() : value;
}

}  // namespace

Part part_of(std::string_view range, std::uint64_t size) {
  const Part whole{Part::Kind::whole, 0, size};
  const Part unsatisfiable{Part::Kind::unsatisfiable, 0, 0};
  if (range.size() < kUnit.size() || strncasecmp(range.data(), kUnit.data(), kUnit.size()) != 0) return whole;
  range = trimmed(range.substr(kUnit.size()));
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return whole;
  const auto first = number(range.substr(0, dash));
  const auto last = number(range.substr(dash + 1));
  const bool has_first = dash > 0;
  const bool has_last = dash + 1 < range.size();
  if (first.has_value() != has_first || last.has_value() != has_last || !(first || last)) return whole;

  if (!first) {  // the last `*last` bytes
    const std::uint64_t length = std::min(*last, size);
    return length == 0 ? unsatisfiable : Part{Part::Kind::part, size - length, length};
  }
  if (last && *last < *first) return whole;
  if (*first >= size) return unsatisfiable;
  const std::uint64_t end = last && *last < size ? *last + 1 : size;
  return {Part::Kind::part, *first, end - *first};
}

}  // namespace http
