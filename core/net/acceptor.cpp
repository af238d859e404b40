#include "core/net/acceptor.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/inherited.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr unsigned kFailuresInARow = 64;            // of clients that are gone already; then accepting rests
constexpr std::uint64_t kRetryAfter = 100'000'000;  // ns, when accepting fails for want of resources
constexpr int kPortAttempts = 32;                   // for one port that is free on both loopback addresses

}  // namespace

// ---- one socket ----

ListeningSocket::ListeningSocket(Net& net, Acceptor& acceptor) noexcept
    : Source(net.runtime()), net_(net), acceptor_(acceptor) {}

void ListeningSocket::start(int fd, std::uint32_t interest, const std::string& what) {
  runtime()->watch(*this, fd, interest, what);
}

std::error_code ListeningSocket::set_paused(bool paused) noexcept {
  runtime()->cancel(*this);
  if (fd() < 0) return {};  // the application has closed it
  return runtime()->want(*this, paused ? ONLOOP_NONE : ONLOOP_READ);
}

void ListeningSocket::sever() noexcept {
  if (!runtime()) return;
  UniqueFd socket(fd());
  runtime()->cancel(*this);
  runtime()->unwatch(*this);
  cut_off();
  drop();
}

bool ListeningSocket::lose_number() noexcept {
  runtime()->cancel(*this);
  runtime()->unwatch(*this);
  return true;
}

void ListeningSocket::on_ready(std::uint32_t) {
  const Held<Acceptor> held(acceptor_);
  TurnBudget draining;  // a drain has a limit, so its turns are bounded where those of a loop of its own are not
  if (draining_) draining.begin();
  for (int left = kAcceptsPerTurn; left > 0 && !runtime()->turn_is_over(); --left) {
    if (!accept_one(Opening::now)) break;
    if (!(wanted() & ONLOOP_READ) || runtime()->budget_is_spent()) break;  // on_open may have taken long
    if (draining_ && (to_accept_ == 0 || draining.look())) break;
  }
  end_drain();
}

/// How many wait, since further ones may come meanwhile. The backlog of a socket that somebody else has made is not
/// known.
std::uint32_t ListeningSocket::waiting() const noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0) return info.tcpi_unacked;  // of a listening one
  constexpr std::uint32_t kMost = 65'536;  // UNIX sockets do not tell: until nobody waits
  return kMost;
}

void ListeningSocket::drain(TurnBudget& budget) {
  draining_ = true;
  to_accept_ = waiting();
  std::optional<Source::Busy> closing;  // on_accept may close the listener
  if (!busy()) closing.emplace(*this);  // otherwise it is the frame beneath that keeps it
  while (fd() >= 0 && to_accept_ > 0 && !budget.spent()) {
    if (!accept_one(Opening::later)) break;
    if (fd() >= 0 && (budget.look() || runtime()->budget_is_spent())) break;
  }
  if (end_drain() || fd() < 0) return;
  if (!(wanted() & ONLOOP_READ) && !scheduled() && set_paused(false)) retry_later();
}

/// True if it was drained.
bool ListeningSocket::end_drain() {
  if (!draining_ || fd() < 0) return false;
  pollfd socket{fd(), POLLIN, 0};  // where nobody waits any more, no readiness would come
  if (to_accept_ > 0 && poll(&socket, 1, 0) != 0) return false;
  draining_ = false;
  acceptor_.drained(*this);
  return true;
}

bool ListeningSocket::accept_one(Opening opening) {
  SocketAddress peer;
  UniqueFd client(accept4(fd(), peer.data(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client) return accept_failed(errno);
  failures_ = 0;
  if (to_accept_ > 0) --to_accept_;
  if (acceptor_.full() || !acceptor_.protocol()->on_accept(peer.to_address())) {
    ++net_.statistics.turned_away;
    acceptor_.count_turned_away(1);
    return true;
  }
  if (acceptor_.severed()) return false;  // by on_accept
  ++net_.statistics.accepted;
  acceptor_.count_accepted();
  auto* stream = new Stream(*acceptor_.protocol(), acceptor_.origin());
  try {
    if (opening == Opening::later) {
      stream->adopted(client.get(), "watch an accepted connection");
    } else {
      stream->accepted(client.get());
    }
  } catch (const std::exception& error) {
    const auto* reason = dynamic_cast<const std::system_error*>(&error);
    stream->sever();
    net_.report_starved(reason ? reason->code() : error_of(ENOMEM), "accept on " + acceptor_.address().to_string());
    return true;
  }
  client.release();
  if (opening == Opening::later) return true;
  const Source::Busy busy(*stream);
  try {
    stream->opened();
  } catch (...) {
    net_.runtime().blame(*stream);
    throw;
  }
  return true;
}

bool ListeningSocket::accept_failed(int error) noexcept {
  switch (error) {
    case EAGAIN:
      to_accept_ = 0;
      return false;
    case EMFILE:
    case ENFILE:
      net_.report_starved(error_of(error), "accept on " + acceptor_.address().to_string() +
                                               ": clients are turned away until a descriptor is free");
      if (!accepts()) return false;  // on_error has paused or closed us, or destroyed the context
      switch (net_.turn_away(fd())) {
        case 0:
          acceptor_.count_turned_away(1);
          [[fallthrough]];
        case EINTR:
        case ECONNABORTED:
          if (to_accept_ > 0) --to_accept_;
          return true;
        case EAGAIN:  // accept4 looks for a descriptor before it looks whether anybody waits
          to_accept_ = 0;
          return false;
        default:
          break;
      }
      break;
    case EINTR:
    case ECONNABORTED:
    // On Linux, errors that are pending on the new connection (accept(2)): that client is gone, others wait. on_ready()
    // tries so many times in a turn only.
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case ETIMEDOUT:
      if (++failures_ < kFailuresInARow) return true;
      [[fallthrough]];
    default:
      // Out of memory, a listening socket that somebody has shut down, a security module that says no, or what nobody
      // foresaw: trying again at once would go on for ever.
      failures_ = 0;
      net_.report_starved(error_of(error), "accept on " + acceptor_.address().to_string());
      break;
  }
  if (!accepts()) return false;
  (void)runtime()->want(*this, ONLOOP_NONE);
  retry_later();
  return false;
}

void ListeningSocket::retry_later() noexcept try {
  runtime()->schedule(*this, now_ns() + kRetryAfter);
} catch (const std::exception&) {
  runtime()->defer(*this);  // without a timer, the next turn has to try
}

void ListeningSocket::on_due() {
  net_.keep_reserve();
  if (set_paused(false)) retry_later();
}

// ---- the listener ----

Acceptor::Acceptor(Net& net, Protocol& protocol, ListenOptions options)
    : SharedCounted(1),
      Endpoint(Kind::acceptor),
      net_(net),
      options_(std::move(options)),
      origin_(make_held<Origin>(net, options_.limits, this)) {
  net_.add(*this);
  set_protocol(&protocol);
}

void Acceptor::start(int fd, const std::string& what) {
  auto* socket = new ListeningSocket(net_, *this);
  try {
    sockets_.push_back(socket);
    socket->start(fd, frozen_ ? ONLOOP_NONE : ONLOOP_READ, what);
  } catch (...) {
    std::erase(sockets_, socket);
    socket->sever();
    throw;
  }
  addresses_.push_back(local_address(fd));
}

void Acceptor::listen(const Address& address) {
  net_.keep_reserve();
  if (address.family() == Address::Family::inherited) {
    for (const int fd : inherited_sockets(address.name())) take_inherited(fd, "listen on " + address.to_string());
    return;
  }
  for (int attempts = kPortAttempts;; --attempts) {
    Address failed;
    const int error = bind_all(address, failed);
    if (error == 0) return;
    const bool other_port = address.family() == Address::Family::localhost && address.port() == 0;
    if (error != EADDRINUSE || !other_port || attempts == 1) {
      throw_error(error, "listen on " + failed.to_string());
    }
    sever_sockets();  // the port that the kernel gave on one loopback address is taken on the other: another one
  }
}

void Acceptor::take_inherited(int fd, const std::string& what) {
  // accept4 must not block when a client has gone again. The flag is the open socket's, as with systemd's NonBlocking=.
  if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) throw_error(errno, what);
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw_error(errno, what);  // as sd_listen_fds(3) does
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  net_.runtime().refuse_if_watched(fd, what);
  start(fd, what);
}

/// Returns 0 if at least one of the sockets that `address` stands for listens, else an errno value.
int Acceptor::bind_all(const Address& address, Address& failed) {
  std::uint16_t port = address.port();
  int error = 0;
  for (Address each : expand(address)) {
    if (port != each.port()) each = Address::from_ip(each.family(), each.ip(), port, each.scope());
    error = bind_one(each);
    if (error == 0) {
      port = addresses_.back().port();
      continue;
    }
    failed = each;
    const bool missing = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;  // a machine without IPv6, or without IPv4
    if (address.family() != Address::Family::localhost || !missing) return error;
  }
  return sockets_.empty() ? error : 0;
}

int Acceptor::bind_one(const Address& address) {
  const std::string what = "listen on " + address.to_string();
  UniqueFd fd = make_socket(address);
  if (!fd) return errno;
  struct Unlink {
    UnixFile& file;
    bool listens = false;
    ~Unlink() {
      if (!listens) file.remove();
    }
  } unlink{file_};  // before the socket is closed: from then on its file is stale, and another process may replace it
  if (address.family() == Address::Family::unix_path) {
    file_.bind(fd.get(), address.name(), options_.unix_mode, options_.replace_stale, what);
  } else {
    if (address.family() != Address::Family::unix_abstract) {
      set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
      if (options_.reuse_port) set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
      set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);  // Linux hands it down to what is accepted
      if (address.family() == Address::Family::ipv6) {
        set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, options_.ipv6_only ? 1 : 0);
      }
    }
    SocketAddress to(address);
    if (::bind(fd.get(), to.data(), to.length) < 0) return errno;
  }
  if (::listen(fd.get(), options_.backlog) < 0) return errno;
  start(fd.get(), what);
  fd.release();
  unlink.listens = true;
  return 0;
}

void Acceptor::set_paused(bool paused) {
  paused_ = paused;
  if (frozen_ || draining_) return;
  std::error_code failed;
  for (ListeningSocket* socket : sockets_) {
    if (const std::error_code error = socket->set_paused(paused)) failed = error;
  }
  if (failed) throw std::system_error(failed, "listen on " + address().to_string());
}

void Acceptor::drain(TurnBudget& budget) {
  const Held<Acceptor> held(*this);
  draining_ = true;
  // From the last one on: a socket that is done leaves the list.
  for (std::size_t i = sockets_.size(); i-- > 0;) {
    if (i < sockets_.size()) sockets_[i]->drain(budget);
  }
  if (frozen_) sever();  // another process is about to have them: nothing more comes here
}

void Acceptor::drained(ListeningSocket& socket) noexcept {
  if (sockets_.size() == 1) {
    sever();
  } else {
    std::erase(sockets_, &socket);
    socket.sever();
  }
}

void Acceptor::sever_sockets() noexcept {
  for (ListeningSocket* socket : sockets_) socket->sever();
  sockets_.clear();
  addresses_.clear();
}

void Acceptor::connection_left() noexcept {
  --connections_;
  tell_drain();
}

void Acceptor::tell_drain() noexcept {
  if (drain_ && severed_ && connections_ == 0) net_.drained(*std::exchange(drain_, nullptr));
}

void Acceptor::sever() noexcept {
  if (std::exchange(severed_, true)) return;
  net_.runtime().check_thread_or_die();
  file_.remove();  // first, so that no client finds a file on which nobody listens
  for (ListeningSocket* socket : sockets_) socket->sever();
  sockets_.clear();
  set_protocol(nullptr);
  net_.remove(*this);
  const Held<Origin> last = std::move(origin_);  // this goes with its connections, unless a frame holds it
  tell_drain();
  Held<Acceptor>::drop(this);
}

// ---- to another process ----

void Acceptor::freeze() noexcept {
  frozen_ = true;
  for (ListeningSocket* socket : sockets_) (void)socket->set_paused(true);  // lowering never fails
}

void Acceptor::thaw() noexcept {
  if (severed_) return;
  frozen_ = false;
  for (ListeningSocket* socket : sockets_) {
    if (socket->set_paused(paused_)) socket->retry_later();
  }
}

ListenerSnapshot Acceptor::snapshot() const {
  const UnixFile::Identity file = file_.identity();
  return {.limits = options_.limits,
          .max_connections = options_.max_connections,
          .paused = paused_,
          .sockets = static_cast<std::uint32_t>(sockets_.size()),
          .path = file.path,
          .device = file.device,
          .inode = file.inode};
}

void Acceptor::hand_over() noexcept {
  file_.forget();
  sever();
}

void Acceptor::restore(UniqueFd socket, bool paused) {
  if (get_option(socket.get(), SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
      get_option(socket.get(), SOL_SOCKET, SO_ACCEPTCONN) != 1) {
    throw_error(EPROTO, "take over a listener: the descriptor is not that of a listening stream socket");
  }
  // Not every process that hands over is one of ours.
  if (fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) | O_NONBLOCK) < 0) {
    throw_error(errno, "take over a listener");
  }
  paused_ = paused;
  start(socket.get(), "take over a listener");
  (void)socket.release();
}

void Acceptor::adopt_file(ListenerSnapshot&& listener) noexcept {
  if (!listener.path.empty()) file_.adopt({std::move(listener.path), listener.device, listener.inode});
}

}  // namespace onloop::detail
