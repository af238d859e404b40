// The calls of Context that make, count and drain listeners and connections.

#include <sys/socket.h>
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/listener.hpp>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/error.hpp"
#include "core/net/acceptor.hpp"
#include "core/net/destination.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {

using detail::throw_error;

namespace {

/// Throws EINVAL if the limits contradict each other. The text begins with `what`.
void check_limits(const Limits& limits, const std::string& what) {
  if (limits.low_water > limits.high_water || limits.high_water > limits.max_queued) {
    throw_error(EINVAL, what + ": the limits must rise from low_water over high_water to max_queued");
  }
}

/// Sets up a new listener or connection with `set`. If `set` throws, the new object is severed.
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

/// Makes a connection, and lets `start` begin the attempt to connect.
template <class Start>
Connection& start_connecting(detail::Runtime& runtime, const std::string& what, Protocol& protocol,
                             const Limits& limits, Start&& start) {
  check_limits(limits, what);
  auto origin = detail::make_held<detail::Origin>(detail::Net::of(runtime), limits);
  return set_up(new detail::Stream(protocol, std::move(origin)), start);
}

}  // namespace

detail::Stream& detail::adopt(Net& net, int fd, Protocol& protocol, const Limits& limits, const std::string& what) {
  check_limits(limits, what);
  return set_up(new Stream(protocol, make_held<Origin>(net, limits)),
                [&](Stream& stream) { stream.adopted(fd, what); });
}

Listener& Context::listen(std::string_view address, Protocol& protocol, ListenOptions options) {
  runtime_->check_thread();
  return listen(Address::parse(address), protocol, std::move(options));
}

Listener& Context::listen(const Address& address, Protocol& protocol, ListenOptions options) {
  return listen(std::span(&address, 1), protocol, std::move(options));
}

Listener& Context::listen(std::span<const Address> addresses, Protocol& protocol, ListenOptions options) {
  runtime_->check_thread();
  if (addresses.empty()) throw_error(EINVAL, "listen: no address is given");
  int paths = 0;
  for (const Address& address : addresses) {
    if (address.family() == Address::Family::none)
      throw_error(EINVAL, "listen: one of the addresses is empty; make it with Address::parse()");
    if (address.family() == Address::Family::unix_path && ++paths > 1) {
      throw_error(EINVAL,
                  "listen on " + address.to_string() + ": a listener has at most one path; make another listener");
    }
  }
  check_limits(options.limits, "listen on " + addresses.front().to_string());
  return set_up(new detail::Acceptor(detail::Net::of(*runtime_), protocol, std::move(options)),
                [&](detail::Acceptor& acceptor) { acceptor.listen(addresses); });
}

Connection& detail::connect(Runtime& runtime, const Destination& to, Protocol& protocol, ConnectOptions options) {
  if (const auto* address = std::get_if<Address>(&to)) {
    return runtime.facade().connect(*address, protocol, std::move(options));
  }
  return start_connecting(runtime, "connect to " + to_string(to), protocol, options.limits,
                          [&](Stream& stream) { stream.connecting(std::get<HostName>(to), options.timeout); });
}

Connection& Context::connect(std::string_view address, Protocol& protocol, ConnectOptions options) {
  runtime_->check_thread();
  return detail::connect(*runtime_, detail::parse_destination(address), protocol, std::move(options));
}

Connection& Context::connect(const Address& address, Protocol& protocol, ConnectOptions options) {
  return connect(std::span(&address, 1), protocol, std::move(options));
}

Connection& Context::connect(std::span<const Address> addresses, Protocol& protocol, ConnectOptions options) {
  runtime_->check_thread();
  if (addresses.empty()) throw_error(EINVAL, "connect: no address is given");
  const std::string what = "connect to " + addresses.front().to_string();
  std::vector<Address> candidates;
  for (const Address& address : addresses) {
    if (address.family() == Address::Family::none) {
      throw_error(EINVAL, "connect: one of the addresses is empty; make it with Address::parse()");
    }
    if (address.family() == Address::Family::inherited) {
      throw_error(EINVAL, "connect to " + address.to_string() +
                              ": an fd: address is only for listening; Context::adopt() takes a connected socket");
    }
    for (Address& each : detail::expand(address)) candidates.push_back(std::move(each));
  }
  return start_connecting(*runtime_, what, protocol, options.limits,
                          [&](detail::Stream& stream) { stream.connecting(candidates, options.timeout, what); });
}

Connection& Context::adopt(int fd, Protocol& protocol, Limits limits) {
  return adopt(fd, protocol, std::move(limits), {});
}

Connection& Context::adopt(int fd, Protocol& protocol, Limits limits, std::span<const std::byte> already_read) {
  runtime_->check_thread();
  const std::string what = "adopt descriptor " + std::to_string(fd);
  const int type = detail::get_option(fd, SOL_SOCKET, SO_TYPE);
  if (type < 0) throw_error(errno, what);
  if (type != SOCK_STREAM) throw_error(EPROTOTYPE, what + ": it is not a stream socket");
  detail::SocketAddress peer;
  if (getpeername(fd, peer.data(), &peer.length) < 0) throw_error(errno, what + ": it must be connected");
  runtime_->sources().refuse_if_watched(fd, what);
  detail::Net& net = detail::Net::of(*runtime_);
  detail::EarlyInput::node_type early;
  if (!already_read.empty()) early = net.new_early(already_read);  // before the adoption, since it may throw
  detail::Stream& stream = detail::adopt(net, fd, protocol, limits, what);
  if (early) stream.read_already(std::move(early));
  return stream;
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

void Context::drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done) {
  runtime_->check_thread();
  detail::Net::of(*runtime_).drain(listeners, limit, std::move(done));
}

}  // namespace onloop
