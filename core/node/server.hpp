#pragma once
#include <onloop/address.hpp>
#include <onloop/node/net.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <system_error>

#include "core/net/destination.hpp"
#include "core/node/handle_state.hpp"
#include "core/node/listeners.hpp"

namespace onloop::detail {

/// Behind a node::Server. Active while it listens.
class ServerState final : public HandleState {
 public:
  ServerState(Phases& phases, const node::ServerOptions& options);
  ~ServerState() override;

  /// @param destination Gives the address. It may throw std::system_error, which is handled as a failure to listen.
  void listen(const std::function<Destination()>& destination, std::function<void()> listening);
  [[nodiscard]] bool listening() const noexcept { return adapter_ != nullptr; }
  [[nodiscard]] const Address& address() const noexcept { return address_; }
  [[nodiscard]] std::size_t connections() const noexcept { return connections_; }
  void connection_left();
  void close(std::function<void(std::error_code)> closed);
  /// Adds to one of its events, until 'close' has come.
  template <class L, class F>
  void add(L& listeners, F&& listener) {
    if (!over_) listeners.add(std::forward<F>(listener));
  }

  Listeners<node::Socket> on_connection;
  Listeners<> on_listening, on_close;
  Listeners<std::error_code> on_error;

 private:
  class ListenAdapter;
  void came(Connection& connection);
  void close_if_drained();
  void sever() noexcept override;

  const node::ServerOptions options_;
  std::unique_ptr<ListenAdapter> adapter_;  // the core's listener belongs to it
  Address address_;
  std::size_t connections_ = 0;
  bool closed_ = false;  // no longer listens
  bool over_ = false;    // 'close' has come, or the context is gone
};

}  // namespace onloop::detail
