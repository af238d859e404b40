#pragma once
#include <onloop/descriptor.hpp>
#include <onloop/listener.hpp>
#include <onloop/options.hpp>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/net/endpoint.hpp"
#include "core/net/origin.hpp"
#include "core/net/snapshot.hpp"
#include "core/net/unix_file.hpp"

namespace onloop::detail {

class ListeningSocket;
class Net;
class TurnBudget;
struct ListenerDrain;

/// The Listener: one address, one or several listening sockets. Its owners are its Net until it is severed, its
/// connections, and the frame that accepts.
class Acceptor final : public SharedCounted, public Listener, public Endpoint {
 public:
  Acceptor(Net& net, Protocol& protocol, ListenOptions options);

  /// @param addresses At most one of them is a path.
  /// @throws std::system_error. Then the caller severs, so nothing listens. Sockets that the process was started with
  /// stay open.
  void listen(std::span<const Address> addresses);
  void set_paused(bool paused);
  void sever() noexcept;

  // ---- to another process ----
  /// Does not accept any more, until thaw().
  void freeze() noexcept;
  void thaw() noexcept;
  [[nodiscard]] ListenerSnapshot snapshot() const;
  [[nodiscard]] const std::vector<ListeningSocket*>& sockets() const noexcept { return sockets_; }
  /// Severs, but leaves the file of a UNIX socket, which is another process's now.
  void hand_over() noexcept;
  /// Listens with a socket that has come from another process. Takes it on success.
  /// @throws std::system_error whose text begins with `what`.
  void restore(Descriptor&& socket, bool paused, const std::string& what);
  void adopt_file(ListenerSnapshot&& listener) noexcept;

  [[nodiscard]] const std::vector<Address>& addresses() const noexcept { return addresses_; }
  [[nodiscard]] std::size_t connections() const noexcept { return connections_; }
  [[nodiscard]] bool full() const noexcept { return connections_ >= options_.max_connections; }
  /// For a connection that it has accepted. Null once it was severed.
  [[nodiscard]] const Held<Origin>& origin() const noexcept { return origin_; }
  [[nodiscard]] Net& net() noexcept { return net_; }
  [[nodiscard]] bool severed() const noexcept { return severed_; }
  /// Severs it when those are accepted who wait: their connection is complete, and a reset would be all they ever get.
  void drain(TurnBudget& budget);
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  /// One of its sockets is done with that.
  void drained(ListeningSocket& socket) noexcept;
  /// The application has closed one of its sockets.
  void lost(ListeningSocket& socket) noexcept;

  void connection_came() noexcept { ++connections_; }
  void connection_left() noexcept;
  void count_accepted() noexcept { ++accepted_; }
  void count_turned_away(std::uint64_t clients) noexcept { turned_away_ += clients; }
  [[nodiscard]] ListenerStatistics statistics() const noexcept {
    return {.accepted = accepted_, .turned_away = turned_away_, .connections = connections_};
  }
  /// Its end, and that of its connections, is waited for. False if that is so already, or if both have come.
  bool start_drain(ListenerDrain& drain) noexcept {
    if (drain_ || (severed_ && connections_ == 0)) return false;
    drain_ = &drain;
    return true;
  }
  [[nodiscard]] const ListenerDrain* drain() const noexcept { return drain_; }

 private:
  void start(int socket, const std::string& what);
  void start_owned(Descriptor&& socket, const std::string& what);
  void tell_drain() noexcept;

  Net& net_;
  ListenOptions options_;
  Held<Origin> origin_;
  std::vector<ListeningSocket*> sockets_;
  std::vector<Address> addresses_;
  UnixFile file_;
  std::size_t connections_ = 0;
  std::uint64_t accepted_ = 0;
  std::uint64_t turned_away_ = 0;
  ListenerDrain* drain_ = nullptr;
  bool severed_ = false;
  bool paused_ = false;
  bool frozen_ = false;
  bool draining_ = false;
};

/// Every Listener is one.
inline Acceptor& acceptor_of(Listener& listener) noexcept {
  return static_cast<Acceptor&>(listener);
}
inline const Acceptor& acceptor_of(const Listener& listener) noexcept {
  return static_cast<const Acceptor&>(listener);
}

}  // namespace onloop::detail
