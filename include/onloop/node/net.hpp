#pragma once
/// Servers and sockets in the shape of Node's `net`, on a context. Its phases and queues are those of
/// onloop/phases.hpp, and so are liveness, errors and threads: Context::run() returns when nothing is left.
///
///     auto server = onloop::node::create_server(context, [](const onloop::node::Socket& socket) {
///       socket.on_data([socket](std::string_view data) { socket.write(data); });
///     });
///     server.listen(8080);
///
/// A Server and a Socket are handles, as JavaScript's references are: copies mean the same one, and the layer keeps a
/// listening server and an open socket even if no handle is left. Calls on one that is closed are harmless. Each on_…()
/// adds a listener; they are called in their order, and those that are added meanwhile not before the next time. All
/// are dropped after 'close', so a listener may own its own socket. A listener may do anything, destroy the context
/// included.
///
/// Node's event emitters are these calls, and its errors are std::error_code. What else differs: listen() takes no
/// names (see Address); a write to a socket that has ended is no error.
#include <onloop/export.h>
#include <onloop/address.hpp>
#include <onloop/node/phases.hpp>
#include <onloop/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

namespace onloop {

namespace detail {
class ServerState;
class SocketState;
}  // namespace detail

namespace node {

/// A connection, of a server or from connect(). Until somebody listens to its data or calls resume(), it is read once
/// at most: what has come by then waits, and so does what comes after it, the peer's end included.
class ONLOOP_API Socket {
 public:
  /// None: every call is without effect.
  Socket() noexcept = default;
  explicit Socket(std::shared_ptr<detail::SocketState> state) noexcept : state_(std::move(state)) {}

  /// Of connect(): the connection is there.
  void on_connect(std::function<void()> listener) const;
  /// Bytes have come; they are valid until it returns. Starts reading, unless pause() was called.
  void on_data(std::function<void(std::string_view)> listener) const;
  void on_data(std::function<void(std::span<const std::byte>)> listener) const;
  /// The peer will send no more. Then, unless half-open is allowed, the socket ends its side, too.
  void on_end(std::function<void()> listener) const;
  /// After write() has returned false: the queue has fallen to the low-water mark.
  void on_drain(std::function<void()> listener) const;
  /// So long without progress as set_timeout() says. Nothing else happens: destroy() it.
  void on_timeout(std::function<void()> listener) const;
  /// It has failed: 'close' follows. An error to which nobody listens, nor to 'close', goes to
  /// ContextOptions::on_error, where Node throws it.
  void on_error(std::function<void(std::error_code)> listener) const;
  /// It is over; comes once and last, in the close phase. No error: an orderly end, or destroy().
  void on_close(std::function<void(std::error_code)> listener) const;
  void on_close(std::function<void()> listener) const;

  /// Sends, while it connects queues. False: stop until 'drain', or it takes nothing any more.
  bool write(std::span<const std::byte> data) const;
  bool write(std::string_view text) const { return write(std::as_bytes(std::span{text})); }
  /// Flushes, then ends this side. Closes when the peer has ended, too.
  void end() const;
  void end(std::string_view last) const {
    write(last);
    end();
  }
  /// Closes now: what is queued is lost, and then the peer gets a reset. With an error, 'error' comes first.
  void destroy(std::error_code error = {}) const;
  /// Flushes, ends this side and discards what still comes until the peer's end or Limits::linger; then closes. Of its
  /// events only 'close', and 'error', still come. While it connects: all this once it has connected, and 'connect'
  /// comes, too.
  void destroy_soon() const;
  /// Closes now, and the peer gets a reset whatever was queued; while it connects, once it has connected. A UNIX socket
  /// has no reset (see Connection::abort).
  void reset_and_destroy() const;
  [[nodiscard]] bool destroyed() const noexcept;

  void pause() const;
  void resume() const;
  /// Whether write() takes anything: it has not ended, is not destroyed, and no write has failed.
  [[nodiscard]] bool writable() const noexcept;
  /// Bytes that were written and that the kernel has not taken yet.
  [[nodiscard]] std::size_t writable_length() const noexcept;
  /// Whether the kernel probes a peer that is silent, after `delay` in whole seconds, at least one; zero: leaves it at
  /// what it is. May be set while it connects. Without effect on UNIX sockets.
  void set_keep_alive(bool enable = true, std::chrono::seconds delay = {}) const;
  /// Whether small pieces are sent at once. At first they are, where Node gathers them unless it is told so.
  void set_no_delay(bool enable = true) const;

  /// 'timeout' after so long without a byte that came or that the peer has taken; zero: never.
  void set_timeout(std::chrono::nanoseconds timeout) const;
  /// With a listener for that.
  void set_timeout(std::chrono::nanoseconds timeout, std::function<void()> listener) const {
    on_timeout(std::move(listener));
    set_timeout(timeout);
  }

  /// No address while it connects, and once it is destroyed.
  [[nodiscard]] Address remote_address() const;
  [[nodiscard]] Address local_address() const;

  /// Whether it keeps run() from returning while it is open. At first it does.
  void ref() const;
  void unref() const;
  [[nodiscard]] bool has_ref() const noexcept;

  friend bool operator==(const Socket&, const Socket&) = default;

 private:
  std::shared_ptr<detail::SocketState> state_;
};

class ONLOOP_API Server {
 public:
  /// None: listen() must not be called, and every other call is without effect.
  Server() noexcept = default;
  explicit Server(std::shared_ptr<detail::ServerState> state) noexcept : state_(std::move(state)) {}

  /// Listens on `port` of `host`, an IP address or localhost; 0: any free port. `listening` is called by a tick. If
  /// that fails, a listener of 'error' gets it by a tick; if there is none, std::system_error is thrown. Throws EINVAL
  /// if it listens already, or has done so and was closed.
  void listen(std::uint16_t port, std::string_view host = "127.0.0.1", std::function<void()> listening = {}) const;
  void listen(std::uint16_t port, std::function<void()> listening) const;
  /// On any Address that it can listen on.
  void listen(std::string_view address, std::function<void()> listening = {}) const;

  void on_connection(std::function<void(Socket)> listener) const;
  void on_listening(std::function<void()> listener) const;
  /// It can't listen.
  void on_error(std::function<void(std::error_code)> listener) const;
  /// It is closed, and so are all its connections.
  void on_close(std::function<void()> listener) const;

  /// Where it listens; no address if it does not.
  [[nodiscard]] Address address() const;
  [[nodiscard]] bool listening() const noexcept;
  /// How many connections are open; with a callback it is told by a tick, and never of an error.
  [[nodiscard]] std::size_t get_connections() const noexcept;
  void get_connections(std::function<void(std::error_code, std::size_t)> callback) const;

  /// Stops listening. 'close' comes by a tick as soon as no connection is open, and with it `closed`; that gets
  /// std::errc::not_connected if the server does not listen.
  void close(std::function<void(std::error_code)> closed) const;
  void close(std::function<void()> closed = {}) const;

  /// Whether it keeps run() from returning while it listens. At first it does. Its connections do so by themselves.
  void ref() const;
  void unref() const;
  [[nodiscard]] bool has_ref() const noexcept;

  friend bool operator==(const Server&, const Server&) = default;

 private:
  std::shared_ptr<detail::ServerState> state_;
};

struct ONLOOP_API ServerOptions {
  bool allow_half_open = false;  ///< its sockets don't end by themselves when the peer does
  ListenOptions listen = {};
};

struct ONLOOP_API SocketOptions {
  bool allow_half_open = false;  ///< it does not end by itself when the peer does
  ConnectOptions connect = {};
};

/// A server that does not listen yet.
[[nodiscard]] ONLOOP_API Server create_server(Context& context, std::function<void(Socket)> on_connection);
[[nodiscard]] ONLOOP_API Server create_server(Context& context, ServerOptions options = {},
                                              std::function<void(Socket)> on_connection = {});

/// A socket that connects to `port` of `host`, an IP address or a name. That it can't comes later, as 'error';
/// thrown is only what makes an attempt impossible, as by Context::connect().
ONLOOP_API Socket connect(Context& context, std::uint16_t port, std::string_view host = "127.0.0.1",
                          std::function<void()> on_connect = {}, SocketOptions options = {});
ONLOOP_API Socket connect(Context& context, std::uint16_t port, std::function<void()> on_connect);
/// To any Address, or name:port.
ONLOOP_API Socket connect(Context& context, std::string_view address, std::function<void()> on_connect = {},
                          SocketOptions options = {});

}  // namespace node
}  // namespace onloop
