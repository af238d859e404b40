// The calls of Context that make listeners and connections.

#include <sys/socket.h>
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/listener.hpp>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "core/base/error.hpp"
#include "core/blocking/host_name.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {

using detail::throw_error;

namespace {

void check_limits(const Limits& limits, const std::string& what) {
  if (limits.low_water > limits.high_water || limits.high_water > limits.max_queued) {
    throw_error(EINVAL, what + ": the limits must rise from low_water over high_water to max_queued");
  }
}

/// Severs a listener or connection whose setting up throws.
template <class T, class SetUp>
T& set_up(T* made, SetUp&& set) {
  try {
    set(*made);
  } catch (...) {
    made->sever();
    throw;
  }
  return *made;
}

}  // namespace

detail::Stream& detail::adopt(Net& net, int fd, Protocol& protocol, const Limits& limits, const std::string& what) {
  check_limits(limits, what);
  return set_up(new Stream(protocol, make_held<Origin>(net, limits)),
                [&](Stream& stream) { stream.adopted(fd, what); });
}

Listener& Context::listen(std::string_view address, Protocol& protocol, ListenOptions options) {
  runtime_->check_thread();
  const Address parsed = Address::parse(address);
  check_limits(options.limits, "listen on " + std::string(address));
  return set_up(new detail::Acceptor(detail::Net::of(*runtime_), protocol, std::move(options)),
                [&](detail::Acceptor& acceptor) { acceptor.listen(parsed); });
}

Connection& Context::connect(std::string_view address, Protocol& protocol, ConnectOptions options) {
  runtime_->check_thread();
  const std::string what = "connect to " + std::string(address);
  const auto host = detail::HostName::parse(address);
  const Address parsed = host ? Address() : Address::parse(address);
  if (parsed.family() == Address::Family::inherited) throw_error(EINVAL, what + ": fd: is for listening");
  check_limits(options.limits, what);
  auto origin = detail::make_held<detail::Origin>(detail::Net::of(*runtime_), options.limits);
  return set_up(new detail::Stream(protocol, std::move(origin)), [&](detail::Stream& stream) {
    if (host) {
      stream.connecting(*host, options.timeout);
    } else {
      stream.connecting(detail::expand(parsed), options.timeout, what);
    }
  });
}

Connection& Context::adopt(int fd, Protocol& protocol, Limits limits) {
  runtime_->check_thread();
  const std::string what = "adopt descriptor " + std::to_string(fd);
  const int type = detail::get_option(fd, SOL_SOCKET, SO_TYPE);
  if (type < 0) throw_error(errno, what);
  if (type != SOCK_STREAM) throw_error(EPROTOTYPE, what + ": it is not a stream socket");
  detail::SocketAddress peer;
  if (getpeername(fd, peer.data(), &peer.length) < 0) throw_error(errno, what + ": it must be connected");
  return detail::adopt(detail::Net::of(*runtime_), fd, protocol, limits, what);
}

Statistics Context::statistics() const noexcept {
  const detail::Net* net = runtime_->find_subsystem<detail::Net>();
  Statistics statistics = net ? net->statistics : Statistics{};
  statistics.cutovers = runtime_->cutovers();
  statistics.last_stall = std::chrono::nanoseconds(runtime_->last_stall());
  return statistics;
}

void Context::drain(std::chrono::nanoseconds limit, Task done) {
  runtime_->check_thread();
  detail::Net::of(*runtime_).drain(limit, std::move(done));
}

}  // namespace onloop
