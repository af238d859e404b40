#include <onloop/address.hpp>

#include <arpa/inet.h>
#include <net/if.h>

#include <cerrno>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/destination.hpp"

namespace onloop {

Address Address::from_ip(Family family, const std::array<std::byte, 16>& ip, std::uint16_t port, std::uint32_t scope) {
  if (family != Family::ipv4 && family != Family::ipv6 && family != Family::localhost) {
    detail::throw_error(EINVAL, "address of an IP: the family is none of ipv4, ipv6 and localhost");
  }
  Address address;
  address.family_ = family;
  address.ip_ = ip;
  address.port_ = port;
  address.scope_ = scope;
  return address;
}

Address Address::from_name(Family family, std::string name) {
  const std::string what = "address of the name \"" + name + '"';
  if (family != Family::unix_path && family != Family::unix_abstract && family != Family::inherited) {
    detail::throw_error(EINVAL, what + ": the family is none of unix_path, unix_abstract and inherited");
  }
  if (name.empty()) detail::throw_error(EINVAL, what + ": it is empty");
  if (family != Family::inherited && name.size() > detail::kLongestUnixName) {
    detail::throw_error(EINVAL, what + ": it has " + std::to_string(name.size()) +
                                    " bytes, a UNIX socket takes at most " + std::to_string(detail::kLongestUnixName));
  }
  if (family != Family::unix_abstract) detail::refuse_zero_byte(name, what);
  Address address;
  address.family_ = family;
  address.name_ = std::move(name);
  return address;
}

Address Address::parse(std::string_view text) {
  return detail::without_look_up(detail::parse_destination(text));
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
