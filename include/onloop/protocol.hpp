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

/// What is done on connections; derive from it. One object serves any number of connections and listeners, of contexts
/// on one thread; what belongs to one connection goes into its state (Connection::emplace_state). It is the
/// application's and should outlive them; if it is destroyed first, they are severed: closed at once, without a further
/// call.
///
/// Every callback runs on the context's thread, from the loop, never inside a call of the application's, and may close
/// or destroy anything, this object and the context included. A connection is never re-entered.
class ONLOOP_API Protocol {
 public:
  Protocol() noexcept = default;
  Protocol(const Protocol&) = delete;
  Protocol& operator=(const Protocol&) = delete;
  virtual ~Protocol();

  /// A client wants in. False turns it away: it is closed before there is a connection. Default: true.
  virtual bool on_accept(const Address& peer);
  /// Accepted, adopted, or connected. Comes first, once.
  virtual void on_open(Connection& connection);
  /// Bytes have come; the span is valid until this returns.
  virtual void on_data(Connection& connection, std::span<const std::byte> data) = 0;
  /// After write() had returned Flow::wait: the queue is at or below the low-water mark.
  virtual void on_drain(Connection& connection);
  /// The peer will send no more (a FIN); writing still works. Over a UNIX socket this also comes of a peer that aborted
  /// or died (see Connection::abort). Default: connection.close().
  virtual void on_end(Connection& connection);
  /// The connection is over; comes last and at most once, also for a connect that failed (then without on_open). No
  /// error: an orderly end on our side; both sides closed, or the peer did not within Limits::linger, or abort() gave
  /// none. The reference is valid until this returns, its descriptor is already closed.
  virtual void on_close(Connection& connection, std::error_code error);

 private:
  friend class detail::Endpoint;
  detail::Endpoint* endpoints_ = nullptr;  // the listeners and connections that call this object
};

}  // namespace onloop
