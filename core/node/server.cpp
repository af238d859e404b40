#include "core/node/server.hpp"

#include <onloop/context.hpp>
#include <onloop/listener.hpp>
#include <onloop/protocol.hpp>

#include <cerrno>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/error.hpp"
#include "core/node/phases.hpp"
#include "core/node/socket.hpp"

namespace onloop::detail {

/// The protocol with which it listens. When it goes, the listener is severed, whoever else has closed that meanwhile.
class ServerState::ListenAdapter final : public Protocol {
 public:
  explicit ListenAdapter(ServerState& server) noexcept : server_(server) {}

 private:
  void on_open(Connection& connection) override { server_.came(connection); }
  void on_data(Connection&, std::span<const std::byte>) override {}  // never: each connection gets its own protocol
  ServerState& server_;
};

ServerState::ServerState(Phases& phases, const node::ServerOptions& options) : HandleState(phases), options_(options) {}

ServerState::~ServerState() = default;

void ServerState::listen(const std::function<Destination()>& destination, std::function<void()> listening) {
  if (!phases()) throw_error(EINVAL, "listen: the context of this server is gone");
  if (adapter_ || closed_) throw_error(EINVAL, "listen: this server has listened before; make a new one");
  const std::shared_ptr<HandleState> self = shared_from_this();
  auto adapter = std::make_unique<ListenAdapter>(*this);
  try {
    const Address address = without_look_up(destination());
    address_ = phases()->runtime().facade().listen(address, *adapter, options_.listen).address();
  } catch (const std::system_error& error) {
    if (on_error.empty()) throw;
    phases()->next_tick([self, this, code = error.code()] { on_error.emit(code); });
    return;
  }
  adapter_ = std::move(adapter);
  on_listening.add(std::move(listening));
  activate();
  phases()->next_tick([self, this] {
    if (adapter_) on_listening.emit();
  });
}

/// The connection has its own protocol before anything is run that may close the server.
void ServerState::came(Connection& connection) {
  const auto self = std::static_pointer_cast<ServerState>(shared_from_this());
  const auto socket = std::make_shared<SocketState>(*phases(), options_.allow_half_open);
  socket->accepted(connection, self);
  ++connections_;
  phases()->call([&] { self->on_connection.emit(node::Socket(socket)); });
}

void ServerState::connection_left() {
  --connections_;
  close_if_drained();
}

void ServerState::close(std::function<void(std::error_code)> closed) {
  if (!phases()) return;
  const std::shared_ptr<HandleState> self = shared_from_this();
  if (!adapter_) {
    if (!closed) return;
    phases()->next_tick([closed = std::move(closed)] { closed(std::make_error_code(std::errc::not_connected)); });
    return;
  }
  if (closed) on_close.add([closed = std::move(closed)] { closed({}); });
  closed_ = true;
  address_ = {};
  adapter_.reset();
  close_if_drained();
  deactivate();
}

void ServerState::close_if_drained() {
  if (!closed_ || connections_ > 0 || !phases()) return;
  phases()->next_tick([self = shared_from_this(), this] {
    const AtScopeExit at_end([this] { sever(); });
    on_close.emit();
  });
}

void ServerState::sever() noexcept {
  over_ = closed_ = true;
  address_ = {};
  adapter_.reset();
  on_connection.clear();
  on_listening.clear();
  on_close.clear();
  on_error.clear();
}

}  // namespace onloop::detail
