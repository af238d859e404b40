// How a Stream connects: looks up a name, and tries one address after the other.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <onloop/resolve.hpp>

#include <cerrno>
#include <utility>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/net/destination.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

void Stream::start_connecting(std::chrono::nanoseconds timeout) {
  phase_ = Phase::connecting;
  extra_ = std::make_unique<Extra>(*this);
  extra_->idle_ns = positive(limits().idle_timeout);
  if (timeout.count() <= 0) return;
  start_clock(positive(timeout));
  extra_->connect_end = extra_->last_activity + positive(timeout);
}

void Stream::connecting(const std::vector<Address>& candidates, std::chrono::nanoseconds timeout,
                        const std::string& what) {
  start_connecting(timeout);
  extra_->candidates.assign(candidates.rbegin(), candidates.rend());
  const int error = try_next(ECONNREFUSED);
  if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) throw_error(error, what);
}

void Stream::connecting(const HostName& host, std::chrono::nanoseconds timeout) {
  start_connecting(timeout);
  extra_->lookup =
      resolve(runtime()->facade(), host.name, host.port, [to = ref()](Outcome<std::vector<Address>> found) {
        if (to) stream_of(*to.get()).resolved(found);
      });
}

void Stream::resolved(Outcome<std::vector<Address>>& found) {
  if (phase_ != Phase::connecting) return;
  if (!found) {
    shut(error_code_of(found.exception()));
    return;
  }
  extra_->candidates.assign(found.get().rbegin(), found.get().rend());
  try_next(ECONNREFUSED);
}

/// Returns 0 once the attempt is under way, else why it can't be.
int Stream::attempt(const Address& address) {
  UniqueFd fd = make_socket(address);
  if (!fd) return errno;
  if (address.family() != Address::Family::unix_path && address.family() != Address::Family::unix_abstract) {
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  }
  SocketAddress to(address);
  if (::connect(fd.get(), to.data(), to.length) < 0 && errno != EINPROGRESS && errno != EINTR) return errno;
  runtime()->watch(*this, fd.get(), ONLOOP_WRITE, "watch a connection");
  fd.release();
  return 0;
}

/// Tries one address after the other, until an attempt is under way; 0, or after the last one the error to close with.
int Stream::try_next(int error) noexcept {
  release_socket();
  while (!extra_->candidates.empty()) {
    const Address next = std::move(extra_->candidates.back());
    extra_->candidates.pop_back();
    try {
      error = attempt(next);
    } catch (const std::system_error& refused) {
      error = refused.code().value();
    } catch (const std::bad_alloc&) {
      error = ENOMEM;
    }
    if (error == 0) {
      try {
        limit_attempt();
      } catch (const std::bad_alloc&) {
        // Then this address has all the time that is left.
      }
      return 0;
    }
  }
  shut(error_of(error));
  return error;
}

/// An address that does not answer leaves the others their share of the time.
void Stream::limit_attempt() {
  constexpr std::uint64_t kAttempt = 10'000'000'000;  // ns, where nothing bounds the whole
  const std::uint64_t left = extra_->candidates.size();
  const std::uint64_t now = now_ns();
  const std::uint64_t end = extra_->connect_end;
  if (left > 0) {
    runtime()->schedule(*extra_, end == 0 ? now + kAttempt : now + (end > now ? (end - now) / (left + 1) : 0));
  } else if (end != 0) {
    runtime()->schedule(*extra_, end);
  } else {
    runtime()->cancel(*extra_);
  }
}

namespace {

/// Linux connects a socket to itself if the port that it is to reach is the one that the kernel gave it.
bool connected_to_itself(int fd, const SocketAddress& peer) {
  if (peer.storage.ss_family == AF_UNIX) return false;
  SocketAddress own;
  return getsockname(fd, own.data(), &own.length) == 0 && own.to_address() == peer.to_address();
}

/// Hung up: a socket that is on its way is writable without, and one that has not begun can't be here.
bool hung_up(int fd) noexcept {
  pollfd state{.fd = fd, .events = 0, .revents = 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR)) != 0;
}

}  // namespace

void Stream::finish_connect() {
  if (const int error = get_option(fd(), SOL_SOCKET, SO_ERROR); error != 0) {
    try_next(error);
    return;
  }
  SocketAddress peer;
  if (getpeername(fd(), peer.data(), &peer.length) < 0) {
    // Either a spurious call, or it has failed and somebody else has read the error.
    if (hung_up(fd())) try_next(ECONNABORTED);
    return;
  }
  if (connected_to_itself(fd(), peer)) {  // nobody listens there
    constexpr unsigned kMostOften = 3;
    if (++extra_->self_connects <= kMostOften) extra_->candidates.push_back(peer.to_address());
    reset_socket();  // a plain close would keep the port taken for a minute
    try_next(ECONNREFUSED);
    return;
  }
  const std::uint64_t idle_ns = extra_->idle_ns;
  stop_clock();
  phase_ = Phase::open;
  start_idle_clock(idle_ns);
  flush();  // what was written, and ended, meanwhile
  if (phase_ == Phase::open) opened();
}

}  // namespace onloop::detail
