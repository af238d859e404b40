// Socket activation as in sd_listen_fds(3). libsystemd is not needed.

#include "core/net/inherited.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>

#include "core/base/error.hpp"
#include "core/net/socket.hpp"

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

/// @return The number of descriptors that were passed, whatever process LISTEN_PID names. 0 if LISTEN_FDS is not set.
/// @throws std::system_error with EINVAL for a value of LISTEN_FDS that sd_listen_fds(3) refuses.
int passed(const std::string& what) {
  const std::string_view text = variable("LISTEN_FDS");
  if (text.empty()) return 0;
  constexpr long kMost = std::numeric_limits<int>::max() - kFirst;
  const std::optional<long> number = to_number(text);
  if (!number || *number <= 0 || *number > kMost) {
    throw_error(EINVAL, what + ": LISTEN_FDS is \"" + std::string(text) + "\", which is not a number from 1 to " +
                            std::to_string(kMost));
  }
  return static_cast<int>(*number);
}
/// @return True if LISTEN_PID names this process.
bool for_us() {
  return to_number(variable("LISTEN_PID")) == getpid();
}

/// Throws unless `fd` is a listening stream socket.
void check(int fd, const std::string& what) {
  if (fcntl(fd, F_GETFD) < 0) throw_error(errno, what + ": no such descriptor is open");
  if (get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 || get_option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM) {
    throw_error(EINVAL, what + ": descriptor " + std::to_string(fd) + " is not a listening stream socket");
  }
}

/// @return The descriptors that have the name `wanted` in LISTEN_FDNAMES, at least one. Throws if there are none.
std::vector<int> named(std::string_view wanted, const std::string& what) {
  const int count = passed(what);
  if (count == 0) throw_error(ENOENT, what + ": LISTEN_FDS is not set, so no sockets were passed to this process");
  if (!for_us()) throw_error(EPERM, what + ": LISTEN_PID names another process");
  std::vector<int> found;
  std::string_view names = variable("LISTEN_FDNAMES");
  for (int i = 0; i < count; ++i) {
    const std::size_t colon = names.find(':');
    if (names.substr(0, colon) == wanted) found.push_back(kFirst + i);
    if (colon == std::string_view::npos) break;  // LISTEN_FDS may be larger than the number of names
    names.remove_prefix(colon + 1);
  }
  if (found.empty()) throw_error(ENOENT, what + ": LISTEN_FDNAMES has no such name");
  return found;
}

}  // namespace

std::vector<int> inherited_sockets(const std::string& name) {
  const std::string what = "listen on fd:" + name;
  const std::optional<long> number = to_number(name);
  if (number && (*number < 0 || *number > 1'000'000'000))
    throw_error(EBADF, what + ": this number cannot be that of a descriptor");
  if (number && *number >= kFirst && *number - kFirst < passed(what) && !for_us()) {
    throw_error(EPERM, what + ": LISTEN_PID names another process");
  }
  std::vector<int> found = number ? std::vector<int>{static_cast<int>(*number)} : named(name, what);
  for (const int fd : found) check(fd, what);
  return found;
}

void prepare_inherited(int fd, const std::string& what) {
  // accept4 must not block when a client has gone again. The flag is the open socket's, as with systemd's NonBlocking=.
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) throw_error(errno, what);
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw_error(errno, what);  // as sd_listen_fds(3) does
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

}  // namespace onloop::detail
