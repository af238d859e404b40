// How a Stream connects: it looks up a name, and tries one address after the other.

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

/// Starts an attempt to connect to `address`.
/// @return 0 if the attempt is under way. Otherwise the errno value that says why it is not.
int Stream::attempt(const Address& address) {
  Descriptor fd = make_socket(address);
  if (!fd) return errno;
  if (address.family() != Address::Family::unix_path && address.family() != Address::Family::unix_abstract) {
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  }
  SocketAddress to(address);
  if (::connect(fd.get(), to.data(), to.length) < 0 && errno != EINPROGRESS && errno != EINTR) return errno;
  runtime()->sources().watch(*this, fd.get(), ONLOOP_WRITE, "watch a connection");
  fd.release();
  return 0;
}

/// Tries one candidate after the other until an attempt is under way. If no candidate is left, closes the connection.
/// @param error The error of the attempt before.
/// @return 0 if an attempt is under way. Otherwise the last error, with which the connection closes.
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
        // Then this address may use all the time that is left.
      }
      return 0;
    }
  }
  shut(error_of(error));
  return error;
}

/// Limits the time of the attempt that is under way. An address that does not answer must leave the other addresses
/// their share of the time.
void Stream::limit_attempt() {
  constexpr std::uint64_t kAttempt = 10'000'000'000;  // ns for one address, if the whole attempt has no time-out
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

/// @return True if the socket is connected to itself. Linux does this if the kernel gives the socket the port that it
/// is to connect to.
bool connected_to_itself(int fd, const SocketAddress& peer) {
  if (peer.storage.ss_family == AF_UNIX) return false;
  SocketAddress own;
  return getsockname(fd, own.data(), &own.length) == 0 && own.to_address() == peer.to_address();
}

/// @return True if the attempt to connect has failed. poll(2) then reports a hang-up or an error. A socket that is
/// still connecting reports neither, even if it is writable. A socket that has not begun to connect reports a hang-up
/// too, but it does not come here.
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
    // Either the loop has called without a reason, or the attempt has failed and somebody else has read the error.
    if (hung_up(fd())) try_next(ECONNABORTED);
    return;
  }
  if (connected_to_itself(fd(), peer)) {  // so nobody listens on that port
    constexpr unsigned kMostOften = 3;
    if (++extra_->self_connects <= kMostOften) extra_->candidates.push_back(peer.to_address());
    reset_socket();  // an ordinary close would keep the port in use for a minute
    try_next(ECONNREFUSED);
    return;
  }
  const std::uint64_t idle_ns = extra_->idle_ns;
  stop_clock();
  phase_ = Phase::open;
  start_idle_clock(idle_ns);
  flush();  // sends what was written meanwhile, and the FIN if writing was ended meanwhile
  if (phase_ == Phase::open) opened();
}

}  // namespace onloop::detail
