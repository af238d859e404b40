// The handles of onloop/node/net.hpp. ServerState and SocketState do the work.

#include <onloop/node/net.hpp>

#include <onloop/connection.hpp>
#include <onloop/context.hpp>

#include <cerrno>
#include <memory>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/destination.hpp"
#include "core/net/stream.hpp"
#include "core/node/phases.hpp"
#include "core/node/server.hpp"
#include "core/node/socket.hpp"

namespace onloop::node {

using detail::checked;
using detail::Phases;
using detail::ServerState;
using detail::SocketState;

namespace {

ServerState& state_or_throw(const std::shared_ptr<ServerState>& state) {
  if (!state) detail::throw_error(EINVAL, "listen: this Server is empty; make one with create_server()");
  return *checked(state);
}

}  // namespace

// ---- Socket ----

void Socket::on_connect(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_connect, std::move(listener));
}
void Socket::on_data(std::function<void(std::string_view)> listener) const {
  if (auto* state = checked(state_)) state->add_data(std::move(listener));
}
void Socket::on_data(std::function<void(std::span<const std::byte>)> listener) const {
  auto* state = checked(state_);
  if (!state || !listener) return;
  state->add_data(
      [listener = std::move(listener)](std::string_view text) { listener(std::as_bytes(std::span{text})); });
}
void Socket::on_end(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_end, std::move(listener));
}
void Socket::on_drain(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_drain, std::move(listener));
}
void Socket::on_timeout(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_timeout, std::move(listener));
}
void Socket::on_error(std::function<void(std::error_code)> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_error, std::move(listener));
}
void Socket::on_close(std::function<void(std::error_code)> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_close, std::move(listener));
}
void Socket::on_close(std::function<void()> listener) const {
  auto* state = checked(state_);
  if (!state || !listener) return;
  state->add(state->on_close, [listener = std::move(listener)](std::error_code) { listener(); });
}

bool Socket::write(std::span<const std::byte> data) const {
  auto* state = checked(state_);
  return state && state->write(data);
}
void Socket::end() const {
  if (auto* state = checked(state_)) state->end();
}
void Socket::destroy(std::error_code error) const {
  if (auto* state = checked(state_)) state->destroy(error);
}
void Socket::destroy_soon() const {
  if (auto* state = checked(state_)) state->destroy_soon();
}
void Socket::reset_and_destroy() const {
  if (auto* state = checked(state_)) state->reset_and_destroy();
}
bool Socket::writable() const noexcept {
  const Connection* connection = state_ ? state_->connection() : nullptr;
  return connection && detail::stream_of(*connection).writable();
}
std::size_t Socket::writable_length() const noexcept {
  const Connection* connection = state_ ? state_->connection() : nullptr;
  return connection ? connection->queued_bytes() : 0;
}
void Socket::set_keep_alive(bool enable, std::chrono::seconds delay) const {
  if (auto* state = checked(state_)) state->set_keep_alive(enable, delay);
}
void Socket::set_no_delay(bool enable) const {
  if (auto* state = checked(state_)) state->set_no_delay(enable);
}
bool Socket::destroyed() const noexcept {
  return !state_ || state_->destroyed();
}
void Socket::pause() const {
  if (auto* state = checked(state_)) state->pause();
}
void Socket::resume() const {
  if (auto* state = checked(state_)) state->resume();
}
void Socket::set_timeout(std::chrono::nanoseconds timeout) const {
  if (auto* state = checked(state_)) state->set_timeout(timeout);
}

Address Socket::remote_address() const {
  const Connection* connection = state_ ? state_->connection() : nullptr;
  return connection ? connection->peer() : Address();
}
Address Socket::local_address() const {
  const Connection* connection = state_ ? state_->connection() : nullptr;
  return connection ? connection->local() : Address();
}

void Socket::ref() const {
  if (auto* state = checked(state_)) state->set_ref(true);
}
void Socket::unref() const {
  if (auto* state = checked(state_)) state->set_ref(false);
}
bool Socket::has_ref() const noexcept {
  return state_ && state_->has_ref();
}

// ---- Server ----

void Server::listen(std::uint16_t port, std::string_view host, std::function<void()> listening) const {
  state_or_throw(state_).listen([&] { return detail::destination_of(host, port); }, std::move(listening));
}
void Server::listen(std::uint16_t port, std::function<void()> listening) const {
  listen(port, "127.0.0.1", std::move(listening));
}
void Server::listen(std::string_view address, std::function<void()> listening) const {
  state_or_throw(state_).listen([&] { return detail::parse_destination(address); }, std::move(listening));
}

void Server::on_connection(std::function<void(Socket)> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_connection, std::move(listener));
}
void Server::on_listening(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_listening, std::move(listener));
}
void Server::on_error(std::function<void(std::error_code)> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_error, std::move(listener));
}
void Server::on_close(std::function<void()> listener) const {
  if (auto* state = checked(state_)) state->add(state->on_close, std::move(listener));
}

Address Server::address() const {
  return state_ ? state_->address() : Address();
}
bool Server::listening() const noexcept {
  return state_ && state_->listening();
}
std::size_t Server::get_connections() const noexcept {
  return state_ ? state_->connections() : 0;
}
void Server::get_connections(std::function<void(std::error_code, std::size_t)> callback) const {
  auto* state = checked(state_);
  if (!state || !state->phases() || !callback) return;
  state->phases()->next_tick([callback = std::move(callback), count = state->connections()] { callback({}, count); });
}

void Server::close(std::function<void(std::error_code)> closed) const {
  if (auto* state = checked(state_)) state->close(std::move(closed));
}
void Server::close(std::function<void()> closed) const {
  if (!closed) {
    close(std::function<void(std::error_code)>());
  } else {
    close([closed = std::move(closed)](std::error_code) { closed(); });
  }
}

void Server::ref() const {
  if (auto* state = checked(state_)) state->set_ref(true);
}
void Server::unref() const {
  if (auto* state = checked(state_)) state->set_ref(false);
}
bool Server::has_ref() const noexcept {
  return state_ && state_->has_ref();
}

// ---- create_server() and connect() ----

Server create_server(Context& context, std::function<void(Socket)> on_connection) {
  return create_server(context, ServerOptions{}, std::move(on_connection));
}

Server create_server(Context& context, ServerOptions options, std::function<void(Socket)> on_connection) {
  Server server(std::make_shared<ServerState>(Phases::of(context), options));
  server.on_connection(std::move(on_connection));
  return server;
}

namespace {

Socket connect_to(Phases& phases, const detail::Destination& to, std::function<void()> on_connect,
                  const SocketOptions& options) {
  const auto state = std::make_shared<SocketState>(phases, options.allow_half_open);
  state->connect(to, options.connect);
  Socket socket(state);
  socket.on_connect(std::move(on_connect));
  return socket;
}

}  // namespace

Socket connect(Context& context, std::uint16_t port, std::string_view host, std::function<void()> on_connect,
               SocketOptions options) {
  Phases& phases = Phases::of(context);  // also if the host is refused: run() then returns when nothing is left
  return connect_to(phases, detail::destination_of(host, port), std::move(on_connect), options);
}

Socket connect(Context& context, std::uint16_t port, std::function<void()> on_connect) {
  return connect(context, port, "127.0.0.1", std::move(on_connect));
}

Socket connect(Context& context, std::string_view address, std::function<void()> on_connect, SocketOptions options) {
  Phases& phases = Phases::of(context);
  return connect_to(phases, detail::parse_destination(address), std::move(on_connect), options);
}

}  // namespace onloop::node
