#include <onloop/address.hpp>

#include <arpa/inet.h>
#include <net/if.h>

#include <cerrno>
#include <charconv>
#include <utility>

#include "core/base/error.hpp"

namespace onloop {
namespace {

constexpr std::size_t kLongestUnixName = 107;  // sizeof sockaddr_un::sun_path, less the terminator or the leading zero
constexpr std::string_view kForms = "use 127.0.0.1:8080, [::1]:8080, localhost:8080, unix:/path, unix:@name or fd:3";

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  detail::throw_error(EINVAL, "address \"" + std::string(text) + "\": " + why);
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
  return Address::from_name(abstract ? Address::Family::unix_abstract : Address::Family::unix_path, std::string(name));
}

Address parse_ipv6(std::string_view text) {
  const std::size_t close = text.find(']');
  if (close == std::string_view::npos || close + 1 >= text.size() || text[close + 1] != ':') {
    refuse(text, "an IPv6 address is written [::1]:8080");
  }
  std::string host(text.substr(1, close - 1));
  std::uint32_t scope = 0;
  if (const std::size_t percent = host.find('%'); percent != std::string::npos) {
    const std::string zone = host.substr(percent + 1);
    host.resize(percent);
    scope = if_nametoindex(zone.c_str());
    if (scope == 0) {
      const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), scope);
      if (error != std::errc{} || end != zone.data() + zone.size())
        refuse(text, "there is no interface \"" + zone + "\"");
    }
  }
  std::array<std::byte, 16> ip{};
  if (inet_pton(AF_INET6, host.c_str(), ip.data()) != 1) refuse(text, "\"" + host + "\" is not an IPv6 address");
  return Address::from_ip(Address::Family::ipv6, ip, parse_port(text, text.substr(close + 2)), scope);
}

}  // namespace

Address Address::from_ip(Family family, const std::array<std::byte, 16>& ip, std::uint16_t port, std::uint32_t scope) {
  Address address;
  address.family_ = family;
  address.ip_ = ip;
  address.port_ = port;
  address.scope_ = scope;
  return address;
}

Address Address::from_name(Family family, std::string name) {
  Address address;
  address.family_ = family;
  address.name_ = std::move(name);
  return address;
}

Address Address::parse(std::string_view text) {
  const bool abstract = text.starts_with("unix:@");  // all others become C strings, which a zero byte would cut off
  if (!abstract && text.find('\0') != text.npos) refuse(text, "only an abstract name can hold a zero byte");
  if (text.starts_with("unix:")) return parse_unix(text, text.substr(5));
  if (text.starts_with("fd:")) {
    if (text.size() == 3) refuse(text, "a number or a name must follow fd:");
    return from_name(Family::inherited, std::string(text.substr(3)));
  }
  if (text.starts_with('[')) return parse_ipv6(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) refuse(text, "it has no port; " + std::string(kForms));
  const std::string host(text.substr(0, colon));
  if (host == "localhost") return from_ip(Family::localhost, {}, parse_port(text, text.substr(colon + 1)));
  if (host.find(':') != std::string::npos) refuse(text, "an IPv6 address is written [::1]:8080");
  std::array<std::byte, 16> ip{};
  if (inet_pton(AF_INET, host.c_str(), ip.data()) != 1) {
    refuse(text, "\"" + host + "\" is not an IPv4 address, and names are not resolved; " + std::string(kForms));
  }
  return from_ip(Family::ipv4, ip, parse_port(text, text.substr(colon + 1)));
}

std::string Address::to_string() const {
  const std::string port = ':' + std::to_string(port_);
  char text[INET6_ADDRSTRLEN] = "";
  switch (family_) {
    case Family::ipv4:
      return inet_ntop(AF_INET, ip_.data(), text, sizeof text) + port;
    case Family::ipv6: {
      std::string host = inet_ntop(AF_INET6, ip_.data(), text, sizeof text);
      char zone[IF_NAMESIZE] = "";
      if (scope_) host += '%' + (if_indextoname(scope_, zone) ? std::string(zone) : std::to_string(scope_));
      return '[' + host + ']' + port;
    }
    case Family::localhost:
      return "localhost" + port;
    case Family::unix_abstract:
      return "unix:@" + name_;
    case Family::inherited:
      return "fd:" + name_;
    case Family::unix_path:
      return "unix:" + name_;
    case Family::none:
      break;
  }
  return "unknown";
}

}  // namespace onloop
