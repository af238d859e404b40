#pragma once
#include <onloop/export.h>

#include <cstddef>
#include <span>
#include <system_error>

namespace onloop {

class Address;
class Connection;
namespace detail {
class Endpoint;
}

/// The object that is called for what happens on connections. Derive your protocol from it.
///
/// One object may serve any number of connections and listeners, in all contexts of one thread. Put the data of one
/// connection into its state (Connection::emplace_state).
///
/// Ownership: the application owns the object. It should outlive its connections and listeners. If it is destroyed
/// first, they are severed: they are closed at once, without a further call.
///
/// Thread: every callback runs on the context's thread. It runs from the loop, and never inside a call that the
/// application makes. A callback may close or destroy anything, also this object and the context. While a callback of a
/// connection runs, no other callback of that connection is called.
class ONLOOP_API Protocol {
 public:
  /// Makes a protocol that no connection uses yet.
  Protocol() noexcept = default;
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;
  /// Severs the listeners and connections that still use this object.
  virtual ~Protocol();

  /// A client wants to connect. Default: true.
  /// @param peer The address of the client.
  /// @return False to turn the client away. It is closed, and no connection is made.
  virtual bool on_accept(const Address& peer);
  /// The connection was accepted, adopted or connected. This call comes first, and once.
  virtual void on_open(Connection& connection);
  /// Bytes have arrived.
  /// @param connection The connection on which they have arrived.
  /// @param data Is valid until this function returns.
  virtual void on_data(Connection& connection, std::span<const std::byte> data) = 0;
  /// After one or more writes have returned Flow::wait, the queue is at or below the low-water mark again. This call
  /// comes once for them, and comes again only after another Flow::wait.
  virtual void on_drain(Connection& connection);
  /// The peer has sent a FIN and will send no more. Writing still works. Default: connection.close(). A protocol that
  /// overrides this function may leave the connection half-open, until it calls close() or shutdown_write(). A proxy
  /// calls shutdown_write() on its other side. Over a UNIX socket this call also comes if the peer has aborted or died
  /// (see Connection::abort).
  virtual void on_end(Connection& connection);
  /// The connection has ended. This call comes last, and at most once. After Connection::close() it comes when the peer
  /// has ended its side, too, or Limits::linger is over: what must happen at once belongs where close() is called. It
  /// also comes for a connect that failed; then there was no on_open.
  /// @param connection Is valid until this function returns. Its descriptor is closed already.
  /// @param error No error in three cases: both sides have ended, whoever ended first; the peer has not ended within
  /// Limits::linger after close(); abort() was called without an error.
  virtual void on_close(Connection& connection, std::error_code error);

 private:
  friend class detail::Endpoint;
  detail::Endpoint* endpoints_ = nullptr;  // the listeners and connections that call this object
};

}  // namespace onloop
