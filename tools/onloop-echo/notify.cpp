#include "onloop-echo/notify.hpp"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <onloop/descriptor.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace echo {
namespace {

std::error_code last_error() noexcept {
  return {errno, std::generic_category()};
}

}  // namespace

std::error_code notify_service_manager(std::string_view state) noexcept {
  const char* const variable = std::getenv("NOTIFY_SOCKET");
  if (variable == nullptr || *variable == '\0') return {};
  const std::string_view name{variable};

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.front() != '/' && name.front() != '@') return std::make_error_code(std::errc::address_family_not_supported);
  if (name.size() >= sizeof address.sun_path) return std::make_error_code(std::errc::filename_too_long);
  std::memcpy(address.sun_path, name.data(), name.size());
  // NOTIFY_SOCKET writes an abstract name with '@' for its leading NUL. The name has no NUL at its end.
  std::size_t length = offsetof(sockaddr_un, sun_path) + name.size();
  if (name.front() == '@') {
    address.sun_path[0] = '\0';
  } else {
    ++length;
  }

  const onloop::Descriptor sender(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sender) return last_error();
  // The queue of the service manager may be full. Wait for room, but not for ever, because clients want to be served.
  const timeval patience{1, 0};
  setsockopt(sender.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (sendto(sender.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(length)) < 0) {
    return last_error();
  }
  return {};
}

}  // namespace echo
