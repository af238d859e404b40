#include "onloop-echo/takeover.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "onloop-echo/control_path.hpp"

namespace echo {
namespace {

constexpr std::size_t kLongestAnswer = 4096;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{10};  // for connecting and for the whole answer

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw std::runtime_error("take over from " + path + ": " + why);
}

[[noreturn]] void fail(const std::string& path, int error) {
  const bool nobody = error == ECONNREFUSED || error == ENOENT;
  const bool silent = error == EAGAIN || error == EWOULDBLOCK;
  fail(path, silent ? "the server does not answer"
                    : std::generic_category().message(error) + (nobody ? " (no server runs with this --control)" : ""));
}

/// Waits until the socket is readable. Fails at `end`, no matter how many bytes have come before.
void wait_for_more(int socket, const std::string& path, Clock::time_point end) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) fail(path, EAGAIN);
    pollfd asked{socket, POLLIN, 0};
    const int ready = poll(&asked, 1, static_cast<int>(left));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) fail(path, errno);
  }
}

/// Reads byte by byte, because the bytes after the line are not for this function.
std::string read_line(int socket, const std::string& path, Clock::time_point end) {
  std::string line;
  for (char next = 0; line.size() < kLongestAnswer;) {
    wait_for_more(socket, path, end);
    const ssize_t got = recv(socket, &next, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) fail(path, errno);
    if (got == 0) fail(path, "the server closed the connection without an answer");
    if (next == '\n') return line;
    line += next;
  }
  fail(path, "not an answer of onloop-echo: the line is too long");
}

}  // namespace

onloop::Descriptor ask_for_takeover(const std::string& path) {
  onloop::Descriptor made(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!made) fail(path, errno);
  const Clock::time_point end = Clock::now() + kPatience;
  const timeval patience{kPatience.count(), 0};
  setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);  // the time-out of connect(), too
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail(path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  if (connect(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) fail(path, errno);
  if (const std::string stranger = stranger_at(made.get()); !stranger.empty()) fail(path, stranger);

  constexpr std::string_view kCommand = "takeover\n";
  if (send(made.get(), kCommand.data(), kCommand.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kCommand.size())) {
    fail(path, errno);
  }
  const std::string answer = read_line(made.get(), path, end);
  constexpr std::string_view kError = "error ";
  if (answer.starts_with(kError)) fail(path, "refused: " + answer.substr(kError.size()));
  if (!answer.starts_with("ok ")) fail(path, "not an answer of onloop-echo: " + answer);
  return made;
}

}  // namespace echo
