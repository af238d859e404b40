#include "core/net/destination.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include "core/base/error.hpp"

namespace onloop::detail {
namespace {

using Family = Address::Family;

constexpr std::size_t kLongestHostName = 253;  // RFC 1035, 2.3.4, as text
constexpr std::string_view kForms = "use 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/path, unix:@name or fd:3";
constexpr std::string_view kIpv6Form = "an IPv6 address is written [::1]:8080";

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw_error(EINVAL, "address \"" + std::string(text) + "\": " + why);
}

std::uint16_t parse_port(std::string_view text, std::string_view port) {
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
  if (port.empty() || error != std::errc{} || end != port.data() + port.size()) {
    refuse(text, '"' + std::string(port) + "\" is not a port from 0 to 65535");
  }
  return value;
}

Address parse_unix(std::string_view text, std::string_view rest) {
  const bool abstract = rest.starts_with('@');
  const std::string_view name = abstract ? rest.substr(1) : rest;
  if (name.empty()) refuse(text, "a path or @name must follow unix:");
  if (name.size() > kLongestUnixName) {
    refuse(text, "the name has " + std::to_string(name.size()) + " bytes, a UNIX socket takes at most " +
                     std::to_string(kLongestUnixName));
  }
  return Address::from_name(abstract ? Family::unix_abstract : Family::unix_path, std::string(name));
}

/// The index of the interface that the zone of an IPv6 address names (RFC 4007, 11.2): by its name or its number.
std::uint32_t parse_zone(std::string_view text, const std::string& zone) {
  std::uint32_t scope = if_nametoindex(zone.c_str());
  if (scope != 0) return scope;
  const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), scope);
  if (error != std::errc{} || end != zone.data() + zone.size()) refuse(text, "there is no interface \"" + zone + "\"");
  return scope;
}

/// `host` without brackets.
Address ipv6_address(std::string_view host, std::uint16_t port, std::string_view text) {
  const std::size_t percent = host.find('%');
  const std::string digits(host.substr(0, percent));
  const std::uint32_t scope = percent == host.npos ? 0 : parse_zone(text, std::string(host.substr(percent + 1)));
  std::array<std::byte, 16> ip{};
  if (inet_pton(AF_INET6, digits.c_str(), ip.data()) != 1) refuse(text, '"' + digits + "\" is not an IPv6 address");
  return Address::from_ip(Family::ipv6, ip, port, scope);
}

constexpr bool is_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr bool can_be_in_name(char c) noexcept {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}
/// A host without any letter is meant to be an IPv4 address.
bool is_host_name(std::string_view host) noexcept {
  return host.size() <= kLongestHostName && std::all_of(host.begin(), host.end(), can_be_in_name) &&
         std::any_of(host.begin(), host.end(), is_letter);
}

/// Any host but an IPv6 address.
Destination named_or_ipv4(std::string_view host, std::uint16_t port, std::string_view text) {
  if (host == "localhost") return Address::from_ip(Family::localhost, {}, port);
  const std::string name(host);
  std::array<std::byte, 16> ip{};
  if (inet_pton(AF_INET, name.c_str(), ip.data()) == 1) return Address::from_ip(Family::ipv4, ip, port);
  if (!is_host_name(host))
    refuse(text, '"' + name + "\" is not an IPv4 address or a host name; " + std::string(kForms));
  return HostName{name, port};
}

}  // namespace

Destination parse_destination(std::string_view text) {
  const bool abstract = text.starts_with("unix:@");  // all others become C strings, which a zero byte would cut off
  if (!abstract && text.find('\0') != text.npos) refuse(text, "only an abstract name can hold a zero byte");
  if (text.starts_with("unix:")) return parse_unix(text, text.substr(5));
  if (text.starts_with("fd:")) {
    if (text.size() == 3) refuse(text, "a number or a name must follow fd:");
    return Address::from_name(Family::inherited, std::string(text.substr(3)));
  }
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == text.npos || text.substr(close + 1, 1) != ":") refuse(text, std::string(kIpv6Form));
    return ipv6_address(text.substr(1, close - 1), parse_port(text, text.substr(close + 2)), text);
  }
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos) refuse(text, "it has no port; " + std::string(kForms));
  const std::string_view host = text.substr(0, colon);
  if (host.find(':') != host.npos) refuse(text, std::string(kIpv6Form));
  return named_or_ipv4(host, parse_port(text, text.substr(colon + 1)), text);
}

Destination destination_of(std::string_view host, std::uint16_t port) {
  const bool is_ipv6 = host.find(':') != host.npos;
  const bool has_brackets = host.starts_with('[') && host.ends_with(']');
  std::string text(host);
  if (is_ipv6 && !has_brackets) text = '[' + text + ']';
  text += ':' + std::to_string(port);
  if (host.find('\0') != host.npos) refuse(text, "only an abstract name can hold a zero byte");
  if (!is_ipv6) return named_or_ipv4(host, port, text);
  return ipv6_address(has_brackets ? host.substr(1, host.size() - 2) : host, port, text);
}

Address without_look_up(Destination&& destination) {
  if (auto* address = std::get_if<Address>(&destination)) return std::move(*address);
  const std::string& name = std::get<HostName>(destination).name;
  refuse(to_string(destination),
         '"' + name + "\" is not an IPv4 address, and names are not resolved; " + std::string(kForms));
}

std::string to_string(const Destination& destination) {
  if (const auto* address = std::get_if<Address>(&destination)) return address->to_string();
  const auto& host = std::get<HostName>(destination);
  return host.name + ':' + std::to_string(host.port);
}

}  // namespace onloop::detail
