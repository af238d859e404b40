// The public calls of Connection, Cork, Ref, Listener and WeakListener. Stream and Acceptor do the work.
// Connection::write is in stream_write.cpp, beside Stream::send.

#include <onloop/connection.hpp>

#include <onloop/listener.hpp>

#include <utility>

#include "core/net/acceptor.hpp"
#include "core/net/net.hpp"
#include "core/net/socket.hpp"
#include "core/net/stream.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop {

using detail::acceptor_of;
using detail::Stream;
using detail::stream_of;

namespace {

/// @return The stream that the connection is. A stream that is over has no context any more, and every call of it has
/// no effect.
/// @throws std::system_error with EPERM on another thread than the context's.
Stream& checked(Connection& connection) {
  Stream& stream = stream_of(connection);
  if (const detail::Runtime* runtime = stream.runtime()) runtime->check_thread();
  return stream;
}

/// @return The acceptor that the listener is.
/// @throws std::system_error with EPERM on another thread than the context's.
detail::Acceptor& checked(Listener& listener) {
  detail::Acceptor& acceptor = acceptor_of(listener);
  acceptor.net().runtime().check_thread();
  return acceptor;
}

}  // namespace

std::size_t Connection::queued_bytes() const noexcept {
  return stream_of(*this).queued();
}

Cork Connection::cork() {
  checked(*this).cork();
  return Cork(ref());
}

void Connection::when_drained(Task task) {
  Stream& stream = checked(*this);
  if (stream.runtime()) stream.when_drained(std::move(task));
}

void Connection::pause_reading() {
  checked(*this).pause(true);
}
void Connection::resume_reading() {
  checked(*this).pause(false);
}
void Connection::set_idle_timeout(std::chrono::nanoseconds timeout) {
  checked(*this).set_idle(timeout);
}
void Connection::set_protocol(Protocol& protocol) {
  if (Stream& stream = checked(*this); stream.runtime()) stream.set_protocol(&protocol);
}
void Connection::shutdown_write() {
  checked(*this).end_writing();
}
void Connection::close() {
  checked(*this).end();
}
void Connection::abort(std::error_code error) {
  checked(*this).reset(error);
}

Address Connection::peer() const {
  return stream_of(*this).peer();
}
Address Connection::local() const {
  return detail::local_address(fd());
}
Context& Connection::context() const {
  return stream_of(*this).runtime()->facade();
}
int Connection::fd() const noexcept {
  return stream_of(*this).fd();
}
Ref Connection::ref() noexcept {
  return Ref(detail::Held<Stream>(stream_of(*this)).release());
}

void Connection::set_state(std::unique_ptr<State> state) {
  checked(*this).set_state(std::move(state));
}
Connection::State* Connection::find_state(const std::type_info& type) noexcept {
  return stream_of(*this).find_state(type);
}

Cork::~Cork() {
  if (Connection* connection = connection_.get()) stream_of(*connection).uncork();
}

Ref::Ref(const Ref& other) noexcept
    : held_(other.held_ ? detail::Held<Stream>(stream_of(*other.held_)).release() : nullptr) {}

Ref::~Ref() {
  if (held_) detail::Held<Stream>::drop(&stream_of(*held_));
}

Connection* Ref::get() const noexcept {
  return held_ && !stream_of(*held_).over() ? held_ : nullptr;
}

const Address& Listener::address() const noexcept {
  return addresses().front();
}
std::span<const Address> Listener::addresses() const noexcept {
  return acceptor_of(*this).addresses();
}
std::size_t Listener::connection_count() const noexcept {
  return acceptor_of(*this).connections();
}

ListenerStatistics Listener::statistics() const noexcept {
  return acceptor_of(*this).statistics();
}

WeakListener::WeakListener(Listener& listener) noexcept
    : held_(detail::Held<detail::Acceptor>(acceptor_of(listener)).release()) {}

WeakListener::WeakListener(const WeakListener& other) noexcept
    : held_(other.held_ ? detail::Held<detail::Acceptor>(acceptor_of(*other.held_)).release() : nullptr) {}

WeakListener::~WeakListener() {
  if (held_) detail::Held<detail::Acceptor>::drop(&acceptor_of(*held_));
}

Listener* WeakListener::get() const noexcept {
  return held_ && !acceptor_of(*held_).severed() ? held_ : nullptr;
}

void Listener::pause() {
  checked(*this).set_paused(true);
}
void Listener::resume() {
  checked(*this).set_paused(false);
}
void Listener::close() {
  checked(*this).sever();
}

}  // namespace onloop
