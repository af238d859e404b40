#include "peer.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace onloop::test {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Sockaddr {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Sockaddr sockaddr_of(const Address& address) {
  Sockaddr out;
  const auto port = htons(address.port());
  if (address.family() == Address::Family::ipv4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = port;
    std::memcpy(&in.sin_addr, address.ip().data(), sizeof in.sin_addr);
    std::memcpy(&out.storage, &in, out.size = sizeof in);
  } else if (address.family() == Address::Family::ipv6) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = port;
    std::memcpy(&in.sin6_addr, address.ip().data(), sizeof in.sin6_addr);
    std::memcpy(&out.storage, &in, out.size = sizeof in);
  } else {
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    const bool abstract = address.family() == Address::Family::unix_abstract;
    const std::string& name = address.name();
    const std::size_t from = abstract ? 1 : 0;
    if (name.size() + 1 > sizeof un.sun_path) throw std::invalid_argument("the name of the socket is too long");
    std::memcpy(un.sun_path + from, name.data(), name.size());
    out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + 1);
    std::memcpy(&out.storage, &un, out.size);
  }
  return out;
}

Fd stream_socket(const Address& address, int flags = 0) {
  Sockaddr target = sockaddr_of(address);
  Fd socket(::socket(target.get()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (socket.get() < 0) fail("socket");
  return socket;
}

std::uint16_t port_of(int fd) {
  Sockaddr bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, bound.get(), &bound.size) != 0) fail("getsockname");
  if (bound.storage.ss_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, &bound.storage, sizeof in);
    return ntohs(in.sin6_port);
  }
  sockaddr_in in;
  std::memcpy(&in, &bound.storage, sizeof in);
  return ntohs(in.sin_port);
}

}  // namespace

Peer::Peer(Fd socket) : socket_(std::move(socket)) {
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

Peer Peer::connect_to(const Address& address) {
  Fd socket = stream_socket(address);
  Sockaddr target = sockaddr_of(address);
  if (::connect(socket.get(), target.get(), target.size) != 0) fail("connect");
  return Peer(std::move(socket));
}

Peer Peer::start_connecting_to(const Address& address) {
  Fd socket = stream_socket(address, SOCK_NONBLOCK);
  Sockaddr target = sockaddr_of(address);
  if (::connect(socket.get(), target.get(), target.size) != 0 && errno != EINPROGRESS) fail("connect");
  return Peer(std::move(socket));
}

std::size_t Peer::send(std::string_view data) const {
  std::size_t sent = 0;
  while (sent < data.size()) {
    const ssize_t n = ::send(fd(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) break;
    sent += static_cast<std::size_t>(n);
  }
  return sent;
}

bool Peer::read(std::size_t at_most) {
  bool got = false;
  char buffer[64 * 1024];
  while (!over() && at_most > 0) {
    const ssize_t n = ::recv(fd(), buffer, std::min(at_most, sizeof buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    got = true;
    if (n > 0) {
      received_.append(buffer, static_cast<std::size_t>(n));
      at_most -= static_cast<std::size_t>(n);
    } else if (n == 0) {
      ended_ = true;
    } else {
      error_ = errno;
    }
  }
  return got;
}

void Peer::finish() const {
  if (::shutdown(fd(), SHUT_WR) != 0) fail("shutdown");
}

void Peer::close() {
  socket_.reset();
}

void Peer::reset() {
  const linger now{1, 0};
  ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  socket_.reset();
}

RawListener::RawListener(std::string_view text, int backlog) : address(Address::parse(text)) {
  socket = stream_socket(address);
  Sockaddr target = sockaddr_of(address);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), target.get(), target.size) != 0) fail("bind");
  if (::listen(socket.get(), backlog) != 0) fail("listen");
  if (address.family() == Address::Family::ipv4 || address.family() == Address::Family::ipv6) {
    address = Address::from_ip(address.family(), address.ip(), port_of(socket.get()));
  }
}

Peer RawListener::accept() const {
  Fd client(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (client.get() < 0) fail("accept");
  return Peer(std::move(client));
}

// A backlog of 0 has room for one client; Linux takes one or two more into its half-open queue and then drops each SYN.
FullListener::FullListener(std::string_view address)
    : listener(address, 0),
      first(Peer::start_connecting_to(listener.address)),
      second(Peer::start_connecting_to(listener.address)),
      third(Peer::start_connecting_to(listener.address)) {}

std::pair<Fd, Fd> connected_pair(Kind kind) {
  if (kind == Kind::unix_pair) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    return {Fd(ends[0]), Fd(ends[1])};
  }
  const RawListener listener("127.0.0.1:0", 1);
  Fd client = stream_socket(listener.address);
  Sockaddr target = sockaddr_of(listener.address);
  if (::connect(client.get(), target.get(), target.size) != 0) fail("connect");
  // A client of another process may connect here, because it means a program that had this port before.
  for (;;) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    Fd server(::accept4(listener.socket.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
    if (server.get() < 0) fail("accept");
    if (ntohs(from.sin_port) == port_of(client.get())) return {std::move(client), std::move(server)};
  }
}

RefusedPort::RefusedPort() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    address = Address::parse("127.0.0.1:0");
    ipv4 = stream_socket(address);
    Sockaddr one = sockaddr_of(address);
    if (::bind(ipv4.get(), one.get(), one.size) != 0) fail("bind");
    address = Address::from_ip(address.family(), address.ip(), port_of(ipv4.get()));
    const Address other = Address::parse("[::1]:" + std::to_string(address.port()));
    ipv6 = stream_socket(other);
    Sockaddr two = sockaddr_of(other);
    if (::bind(ipv6.get(), two.get(), two.size) == 0) return;
  }
  fail("bind one port of both loopback addresses");
}

std::string pattern(std::size_t size) {
  static const std::string period = [] {
    std::string bytes(1'000'003, '\0');  // a prime: no buffer's size divides it
    std::uint32_t state = 2463534242u;
    for (char& byte : bytes) {
      state ^= state << 13;
      state ^= state >> 17;
      state ^= state << 5;
      byte = static_cast<char>(state >> 24);
    }
    return bytes;
  }();
  std::string bytes;
  bytes.reserve(size);
  while (bytes.size() < size) bytes.append(period, 0, size - bytes.size());
  return bytes;
}

// A new descriptor takes the lowest free number: all below that of this one are in use.
DescriptorsLeft::DescriptorsLeft(rlim_t more) {
  const Fd lowest(::dup(0));
  if (lowest.get() < 0 || ::getrlimit(RLIMIT_NOFILE, &before_) != 0) fail("RLIMIT_NOFILE");
  rlimit lowered = before_;
  lowered.rlim_cur = static_cast<rlim_t>(lowest.get()) + more;
  if (::setrlimit(RLIMIT_NOFILE, &lowered) != 0) fail("RLIMIT_NOFILE");
}

DescriptorsLeft::~DescriptorsLeft() {
  ::setrlimit(RLIMIT_NOFILE, &before_);
}

TemporaryDirectory::TemporaryDirectory() : path_("/tmp/onloop-test-XXXXXX") {
  if (!::mkdtemp(path_.data())) fail("mkdtemp");
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace onloop::test
