// Socket activation as in sd_listen_fds(3), without libsystemd.

#include "core/net/inherited.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "core/net/socket.hpp"
#include "core/runtime/error.hpp"

namespace onloop::detail {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START

std::optional<long> to_number(std::string_view text) {
  long value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// How many descriptors were passed, to whatever process LISTEN_PID names.
long passed() {
  return to_number(variable("LISTEN_FDS")).value_or(0);
}
bool for_us() {
  return to_number(variable("LISTEN_PID")) == getpid();
}

void check(int fd, const std::string& what) {
  if (fcntl(fd, F_GETFD) < 0) throw_error(errno, what + ": no such descriptor is open");
  if (get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 || get_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM) {
    throw_error(EINVAL, what + ": descriptor " + std::to_string(fd) + " is not a listening stream socket");
  }
}

std::vector<int> named(std::string_view wanted, const std::string& what) {
  if (passed() <= 0) throw_error(ENOENT, what + ": LISTEN_FDS is not set, so no sockets were passed to this process");
  if (!for_us()) throw_error(EPERM, what + ": LISTEN_PID names another process");
  std::vector<int> found;
  std::string_view names = variable("LISTEN_FDNAMES");
  for (int i = 0; i < passed(); ++i) {
    const std::size_t colon = names.find(':');
    if (names.substr(0, colon) == wanted) found.push_back(kFirst + i);
    names = colon == std::string_view::npos ? std::string_view{} : names.substr(colon + 1);
  }
  if (found.empty()) throw_error(ENOENT, what + ": LISTEN_FDNAMES has no such name");
  return found;
}

}  // namespace

std::vector<int> inherited_sockets(const std::string& name) {
  const std::string what = "listen on fd:" + name;
  const std::optional<long> number = to_number(name);
  if (number && (*number < 0 || *number > 1'000'000'000)) throw_error(EBADF, what);
  if (number && *number >= kFirst && *number < kFirst + passed() && !for_us()) {
    throw_error(EPERM, what + ": LISTEN_PID names another process");
  }
  std::vector<int> found = number ? std::vector<int>{static_cast<int>(*number)} : named(name, what);
  for (const int fd : found) check(fd, what);
  return found;
}

}  // namespace onloop::detail
