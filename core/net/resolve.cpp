#include <onloop/resolve.hpp>

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "core/base/error.hpp"
#include "core/net/socket.hpp"

namespace onloop {
namespace {

class ResolverCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "resolver"; }
  [[nodiscard]] std::string message(int code) const override { return gai_strerror(code); }
};

}  // namespace

const std::error_category& resolver_category() noexcept {
  static const ResolverCategory category;
  return category;
}

std::vector<Address> resolve_blocking(const std::string& host, std::uint16_t port) {
  const std::string what = "look up " + host;
  detail::refuse_zero_byte(host, what + ": the name");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error == EAI_SYSTEM) detail::throw_error(errno, what);
  if (error != 0) throw std::system_error(error, resolver_category(), what);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, &freeaddrinfo);
  std::vector<Address> found;
  for (const addrinfo* entry = list; entry; entry = entry->ai_next) {
    detail::SocketAddress address;
    if (entry->ai_addrlen > sizeof address.storage) continue;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    found.push_back(address.to_address());
  }
  return found;
}

}  // namespace onloop
