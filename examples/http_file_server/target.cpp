#include "target.hpp"

#include <strings.h>

#include <algorithm>
#include <charconv>

namespace http {
namespace {

constexpr std::string_view kScheme = "http://";

/// A server must also understand the form for proxies, "http://host/path".
std::string_view without_authority(std::string_view target) {
  if (target.size() < kScheme.size() || strncasecmp(target.data(), kScheme.data(), kScheme.size()) != 0) return target;
  target.remove_prefix(kScheme.size());
  const std::size_t path = target.find_first_of("/?#");
  return path == std::string_view::npos ? "/" : target.substr(path);
}

std::optional<char> unescape(std::string_view digits) {
  unsigned value = 0;
  const char* const end = digits.data() + digits.size();
  if (digits.size() != 2 || std::from_chars(digits.data(), end, value, 16).ptr != end) return {};
  if (value == 0 || value == '/') return {};
  return static_cast<char>(value);
}

bool means_itself(char character) {
  const auto byte = static_cast<unsigned char>(character);
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
         std::string_view{"-._~/"}.find(character) != std::string_view::npos;
}

}  // namespace

std::optional<std::string> path_of(std::string_view target) {
  target = without_authority(target);
  target = target.substr(0, target.find_first_of("?#"));
  if (!target.starts_with('/')) return {};
  target.remove_prefix(std::min(target.find_first_not_of('/'), target.size()));

  std::string path;
  path.reserve(target.size());
  for (std::size_t at = 0; at < target.size(); ++at) {
    char character = target[at];
    if (character == '\0') return {};
    if (character == '%') {
      const std::optional<char> escaped = unescape(target.substr(at + 1, 2));
      if (!escaped) return {};
      character = *escaped;
      at += 2;
    }
    path += character;
  }
  return path;
}

std::string target_of(std::string_view path) {
  std::string target = "/";
  for (const char character : path) {
    if (means_itself(character)) {
      target += character;
    } else {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(character);
      target += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return target;
}

}  // namespace http
