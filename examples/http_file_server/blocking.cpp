#include "blocking.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>
#include <onloop/address.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "answer.hpp"
#include "request.hpp"
#include "response.hpp"

namespace http {
namespace {

constexpr int kBacklog = 4096;
constexpr std::size_t kReadSize = 64 * 1024;
constexpr std::uint64_t kPiece = 128 * 1024;

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

bool write_all(const onloop::Descriptor& socket, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

/// Reads the next request from the socket.
///
/// @param input The bytes that came behind the last request.
/// @return False at the end of the connection.
bool read_request(const onloop::Descriptor& socket, RequestParser& parser, std::string& input) {
  while (true) {
    input.erase(0, parser.feed(input));
    if (parser.take_continue() && !write_all(socket, kContinue)) return false;
    if (parser.state() == RequestParser::State::complete || parser.state() == RequestParser::State::refused)
      return true;
    std::array<char, kReadSize> buffer;
    const ssize_t got = recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    input.assign(buffer.data(), static_cast<std::size_t>(got));
  }
}

bool write_contents(const onloop::Descriptor& socket, const Answer& answer) {
  for (std::uint64_t sent = 0; sent < answer.length;) {
    const std::vector<std::byte> piece =
        answer.file->read_at(answer.offset + sent, std::min(kPiece, answer.length - sent));
    if (piece.empty()) return false;
    if (!write_all(socket, {reinterpret_cast<const char*>(piece.data()), piece.size()})) return false;
    sent += piece.size();
  }
  return true;
}

/// Closes the sending side and reads until the peer closes. If a socket with unread input is closed, the kernel sends a
/// reset, and the bytes that were written are lost.
void close_in_order(const onloop::Descriptor& socket) {
  std::array<char, kReadSize> rest;
  shutdown(socket.get(), SHUT_WR);
  while (recv(socket.get(), rest.data(), rest.size(), 0) > 0) {
  }
}

onloop::Descriptor listening_socket(const onloop::Address& address) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.family() == onloop::Address::Family::ipv4) {
    auto& name = reinterpret_cast<sockaddr_in&>(storage);
    name.sin_family = AF_INET;
    name.sin_port = htons(address.port());
    std::memcpy(&name.sin_addr, address.ip().data(), sizeof name.sin_addr);
    size = sizeof name;
  } else if (address.family() == onloop::Address::Family::ipv6) {
    auto& name = reinterpret_cast<sockaddr_in6&>(storage);
    name.sin6_family = AF_INET6;
    name.sin6_port = htons(address.port());
    name.sin6_scope_id = address.scope();
    std::memcpy(&name.sin6_addr, address.ip().data(), sizeof name.sin6_addr);
    size = sizeof name;
  } else {
    throw std::runtime_error("this server listens on IPv4 and IPv6 addresses only, not on " + address.to_string());
  }
  onloop::Descriptor listener(socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!listener || setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&storage), size) < 0 ||
      listen(listener.get(), kBacklog) < 0) {
    fail("listen on " + address.to_string());
  }
  return listener;
}

onloop::Address address_of(const onloop::Descriptor& listener, const onloop::Address& asked) {
  sockaddr_in6 name{};  // the port is at the same place for both families
  socklen_t size = sizeof name;
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&name), &size) < 0) fail("getsockname");
  return onloop::Address::from_ip(asked.family(), asked.ip(), ntohs(name.sin6_port), asked.scope());
}

int stoppable = -1;  // the listening socket, for the signal handler
std::atomic<bool> stopping = false;
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler sets it");

/// Waits a while after an error of accept(). Most errors come again at once: if there is no descriptor or no memory for
/// a client, the client stays in the backlog. Each kind of error is reported only once.
void rest_after(int error) {
  constexpr int kRest = 100;  // milliseconds
  static std::vector<int> told;
  if (std::find(told.begin(), told.end(), error) == told.end()) {
    told.push_back(error);
    std::fprintf(stderr, "accept: %s; trying again\n", std::generic_category().message(error).c_str());
  }
  poll(nullptr, 0, kRest);
}

}  // namespace

void handle_connection(const onloop::Descriptor& socket, const DocumentRoot& root, std::chrono::nanoseconds timeout) {
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const timeval limit{.tv_sec = whole.count(),
                      .tv_usec = std::chrono::duration_cast<std::chrono::microseconds>(timeout - whole).count()};
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  RequestParser parser;
  std::string input;
  bool keep_alive = true;
  while (keep_alive && read_request(socket, parser, input)) {
    const bool refused = parser.state() == RequestParser::State::refused;
    const int status = parser.refusal();
    const Request request = parser.take();
    const Answer answer = refused ? refusal(request, status) : http::answer(request, root);
    if (!write_all(socket, answer.text) || !write_contents(socket, answer)) return;
    keep_alive = answer.keep_alive;
  }
  if (!keep_alive) close_in_order(socket);
}

void accept_forever(const Options& options, const std::string& name,
                    const std::function<void(onloop::Descriptor)>& handle) {
  const onloop::Descriptor listener = listening_socket(options.listen);
  stoppable = listener.get();
  struct sigaction stop {};
  stop.sa_handler = [](int) {
    stopping = true;
    shutdown(stoppable, SHUT_RDWR);  // accept() then fails if it is waiting
  };
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &stop, nullptr);
  say_listening(address_of(listener, options.listen), name);
  while (true) {
    onloop::Descriptor client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (client) {
      handle(std::move(client));
    } else if (const int error = errno; stopping) {
      std::quick_exit(0);
    } else if (error != EINTR && error != ECONNABORTED) {
      rest_after(error);
    }
  }
}

}  // namespace http
