#include "core/net/listening_socket.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

constexpr int kAcceptsPerTurn = 64;
constexpr unsigned kFailuresInARow = 64;            // of clients that are gone already; then accepting rests
constexpr std::uint64_t kRetryAfter = 100'000'000;  // ns, when accepting fails for want of resources

}  // namespace

ListeningSocket::ListeningSocket(Net& net, Acceptor& acceptor) noexcept
    : Source(net.runtime()), net_(net), acceptor_(acceptor) {}

void ListeningSocket::start(int fd, std::uint32_t interest, const std::string& what) {
  runtime()->sources().watch(*this, fd, interest, what);
}

std::error_code ListeningSocket::set_paused(bool paused) noexcept {
  runtime()->cancel(*this);
  if (fd() < 0) return {};  // the application has closed it
  return runtime()->sources().want(*this, paused ? ONLOOP_NONE : ONLOOP_READ);
}

void ListeningSocket::sever() noexcept {
  if (!runtime()) return;
  const Descriptor socket(fd());
  give_back();
}

void ListeningSocket::give_back() noexcept {
  runtime()->cancel(*this);
  runtime()->sources().unwatch(*this);
  cut_off();
  drop();
}

bool ListeningSocket::lose_number() noexcept {
  const Held<Acceptor> held(acceptor_);
  acceptor_.lost(*this);
  if (runtime()) give_back();
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
  Descriptor client(accept4(fd(), peer.data(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
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
      report_starved(error, ": clients are turned away until a descriptor is free");
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
      report_starved(error);
      break;
  }
  if (!accepts()) return false;
  (void)runtime()->sources().want(*this, ONLOOP_NONE);
  retry_later();
  return false;
}

void ListeningSocket::report_starved(int error, const char* consequence) noexcept try {
  net_.report_starved(error_of(error), "accept on " + local_address(fd()).to_string() + consequence);
} catch (const std::bad_alloc&) {
  net_.report_starved(error_of(error), "accept");
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

}  // namespace onloop::detail
