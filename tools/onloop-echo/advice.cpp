#include "onloop-echo/advice.hpp"

#include <sys/stat.h>

#include <algorithm>

namespace echo {
namespace {

using Family = onloop::Address::Family;

std::string advice_for_ip(const onloop::Address& address, const std::error_code& error) {
  if (error == std::errc::address_in_use) {
    return "take another port, or see who has it: ss -ltnp 'sport = :" + std::to_string(address.port()) + "'";
  }
  if (error == std::errc::permission_denied && address.port() < 1024) {
    return "ports below 1024 need root or CAP_NET_BIND_SERVICE; take one from 1024 to 65535";
  }
  if (error == std::errc::address_not_available)
    return "this machine has no such address; see those it has: ip address";
  return {};
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

std::string advice_for_path(const onloop::Address& address, const std::error_code& error, bool replace_stale) {
  if (error == std::errc::address_in_use) {
    if (!is_socket(address.name())) return "there is something else at that path; take another";
    const std::string look = "see: ss -lxp src " + address.name();
    if (replace_stale) return "a server is using it, so it is not stale; " + look;
    return "if no server is using it any more, --replace-stale removes it; " + look;
  }
  if (error == std::errc::permission_denied) return "its directory must be writable";
  if (error == std::errc::no_such_file_or_directory) return "its directory does not exist; make it first";
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
      if (error == std::errc::address_in_use) return "take another name, or see who has it: ss -lxp";
      return {};
    case Family::inherited:
      return "fd: takes a listening stream socket that the service manager, or the shell, has passed in";
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
