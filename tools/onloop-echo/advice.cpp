#include "onloop-echo/advice.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace echo {
namespace {

using Family = onloop::Address::Family;

std::string advice_for_ip(const onloop::Address& address, const std::error_code& error) {
  if (error == std::errc::address_in_use) {
    return "choose another port, or find the program that uses it: ss -ltnp 'sport = :" +
           std::to_string(address.port()) + "'";
  }
  if (error == std::errc::permission_denied && address.port() < 1024) {
    return "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a port from 1024 to 65535";
  }
  if (error == std::errc::address_not_available)
    return "this machine does not have this address; list its addresses: ip address";
  return {};
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

std::string advice_for_path(const onloop::Address& address, const std::error_code& error, bool replace_stale) {
  if (error == std::errc::address_in_use) {
    if (!is_socket(address.name())) return "a file that is not a socket is at this path; choose another path";
    const std::string look = "find the server: ss -lxp src " + address.name();
    if (replace_stale) return "a server uses this socket, so it is not stale; " + look;
    return "if no server uses this socket any more, --replace-stale removes it; " + look;
  }
  if (error == std::errc::permission_denied) return "you need write permission for its directory";
  if (error == std::errc::no_such_file_or_directory) return "its directory does not exist; create it first";
  return {};
}

}  // namespace

std::string advice(const onloop::Address& address, const std::error_code& error, bool replace_stale) {
  if (error == std::errc::too_many_files_open) return "raise the limit on open files: ulimit -n";
  switch (address.family()) {
    case Family::ipv4:
    case Family::ipv6:
    case Family::localhost:
      return advice_for_ip(address, error);
    case Family::unix_path:
      return advice_for_path(address, error, replace_stale);
    case Family::unix_abstract:
      if (error == std::errc::address_in_use) return "choose another name, or find the program that uses it: ss -lxp";
      return {};
    case Family::inherited:
      return "fd: needs a listening stream socket that the service manager or the shell passed to this process";
    case Family::none:
      break;
  }
  return {};
}

bool reachable_from_outside(const onloop::Address& address) noexcept {
  const auto& ip = address.ip();
  if (address.family() == Family::ipv4) return ip[0] != std::byte{127};
  if (address.family() == Family::ipv6) {
    const bool zeros = std::all_of(ip.begin(), ip.end() - 1, [](std::byte byte) { return byte == std::byte{0}; });
    return !zeros || ip.back() != std::byte{1};
  }
  return false;
}

}  // namespace echo
