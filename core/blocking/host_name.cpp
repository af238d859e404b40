#include "core/blocking/host_name.hpp"

#include <algorithm>
#include <charconv>

namespace onloop::detail {
namespace {

constexpr std::size_t kLongest = 253;  // RFC 1035, 2.3.4, as text

constexpr bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr bool is_of_name(char c) noexcept {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

}  // namespace

std::optional<HostName> HostName::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  const std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  // What has no letter is meant for an IPv4 address; and `unix:7`, `fd:3` are addresses, too.
  if (host == "unix" || host == "fd" || host == "localhost" || host.size() > kLongest) return {};
  if (!std::all_of(host.begin(), host.end(), is_of_name) || std::none_of(host.begin(), host.end(), is_letter))
    return {};
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return {};
  return HostName{std::string(host), port};
}

}  // namespace onloop::detail
