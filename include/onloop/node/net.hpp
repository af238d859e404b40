#pragma once
/// @file
/// Servers and sockets in the shape of Node's `net`, on a context. The phases, queues, liveness, errors and threads are
/// those of onloop/node/phases.hpp: Context::run() returns when nothing is left.
///
///     auto server = onloop::node::create_server(context, [](const onloop::node::Socket& socket) {
///       socket.on_data([socket](std::string_view data) { socket.write(data); });
///     });
///     server.listen(8080);
///
/// A Server and a Socket are handles, like references in JavaScript. Copies mean the same server or socket. This layer
/// keeps a listening server and an open socket even if no handle is left. A call on a closed server or socket does no
/// harm.
///
/// Each on_…() adds a listener. Listeners are called in the order in which they were added. A listener that is added
/// during an event is first called at the next event. All listeners are dropped after 'close', so a listener may own
/// its own socket. A listener may do anything, and may also destroy the context.
///
/// The on_…() calls take the place of Node's event emitters, and std::error_code takes the place of Node's errors.
/// There are two more differences. listen() takes no names (see Address). A write to a socket that has ended is no
/// error.
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

/// @cond
namespace detail {
class ServerState;
class SocketState;
}  // namespace detail
/// @endcond

namespace node {

/// A connection: one that a server has accepted, or one from connect().
///
/// Until there is a listener of its data, or until resume() is called, the socket is read at most once. The bytes of
/// that read wait. Everything that arrives later waits too, also the end of the peer.
class ONLOOP_API Socket {
 public:
  /// A handle without a socket. No call has an effect.
  Socket() noexcept = default;
  /// For the library: a handle to a socket that exists.
  explicit Socket(std::shared_ptr<detail::SocketState> state) noexcept : state_(std::move(state)) {}

  /// Adds a listener of 'connect': a socket from connect() is connected.
  void on_connect(std::function<void()> listener) const;
  /// Adds a listener of 'data': bytes have arrived. They are valid until the listener returns. This call starts
  /// reading, unless pause() was called.
  void on_data(std::function<void(std::string_view)> listener) const;
  /// @overload
  /// This listener gets the bytes as std::byte.
  void on_data(std::function<void(std::span<const std::byte>)> listener) const;
  /// Adds a listener of 'end': the peer will send no more. The socket then ends its own side too, unless half-open
  /// sockets are allowed.
  void on_end(std::function<void()> listener) const;
  /// Adds a listener of 'drain': the queue has fallen to the low-water mark. This event comes after write() has
  /// returned false.
  void on_drain(std::function<void()> listener) const;
  /// Adds a listener of 'timeout': no byte passed in either direction for the set_timeout() period. The socket stays
  /// open; call destroy() to close it.
  void on_timeout(std::function<void()> listener) const;
  /// Adds a listener of 'error': the socket has failed. 'close' follows. If there is a listener neither of 'error' nor
  /// of 'close', the error goes to ContextOptions::on_error. Node throws it in this case.
  void on_error(std::function<void(std::error_code)> listener) const;
  /// Adds a listener of 'close': the socket has ended. This event comes once and last, in the close phase. The listener
  /// gets no error after an orderly end, or after destroy() without an error.
  void on_close(std::function<void(std::error_code)> listener) const;
  /// @overload
  /// This listener does not get the error.
  void on_close(std::function<void()> listener) const;

  /// Sends the bytes. While the socket connects, it queues them.
  /// @return False if the caller should stop writing until 'drain', or if the socket takes no more bytes.
  bool write(std::span<const std::byte> data) const;
  /// @overload
  /// This one takes the bytes of a text.
  bool write(std::string_view text) const { return write(std::as_bytes(std::span{text})); }
  /// Flushes the queue, then ends this side. The socket closes when the peer has ended its side, too.
  void end() const;
  /// @overload
  /// This one first writes `last`.
  void end(std::string_view last) const {
    write(last);
    end();
  }
  /// Closes the socket now. If bytes are queued, they are lost, and the peer gets a reset. If `error` is an error,
  /// 'error' comes before 'close'.
  void destroy(std::error_code error = {}) const;
  /// Flushes the queue, ends this side, and discards what still arrives until the peer's end or Limits::linger. Then
  /// the socket closes. After this call only 'error' and 'close' still come. If the socket is still connecting, all
  /// this happens once it has connected, and 'connect' comes, too.
  void destroy_soon() const;
  /// Closes the socket now. The peer gets a reset, whether bytes are queued or not. If the socket is still connecting,
  /// this happens once it has connected. A UNIX socket has no reset (see Connection::abort).
  void reset_and_destroy() const;
  /// @return True if the socket has ended, by destroy(), by both ends, or by an error. Also true for a handle without a
  /// socket.
  [[nodiscard]] bool destroyed() const noexcept;

  /// Stops 'data' and 'end' until resume(). One read may still be made; its bytes wait.
  void pause() const;
  /// Starts reading, or goes on with it after pause(). The bytes that wait come by a tick.
  void resume() const;
  /// @return True if write() takes bytes: the socket has not ended, is not destroyed, and no write has failed.
  [[nodiscard]] bool writable() const noexcept;
  /// @return The number of bytes that were written and that the kernel has not taken yet.
  [[nodiscard]] std::size_t writable_length() const noexcept;
  /// Sets whether the kernel probes a silent peer. It may be called while the socket connects. It has no effect on UNIX
  /// sockets.
  /// @param enable True to probe, false not to.
  /// @param delay How long the peer is silent before the first probe, in whole seconds, at least one. Zero leaves the
  /// kernel's present value.
  void set_keep_alive(bool enable = true, std::chrono::seconds delay = {}) const;
  /// Sets whether small pieces are sent at once. At first they are. Node gathers them, unless it is told not to.
  void set_no_delay(bool enable = true) const;

  /// Sets the period of 'timeout'. The event comes after this period if no byte has arrived and the peer has taken
  /// none. Zero means never.
  void set_timeout(std::chrono::nanoseconds timeout) const;
  /// Does the same, and adds a listener of 'timeout'.
  void set_timeout(std::chrono::nanoseconds timeout, std::function<void()> listener) const {
    on_timeout(std::move(listener));
    set_timeout(timeout);
  }

  /// The address of the peer. There is no address while the socket connects, and none after it is destroyed.
  /// local_address() follows the same rule.
  [[nodiscard]] Address remote_address() const;
  /// The address on our side.
  [[nodiscard]] Address local_address() const;

  /// Makes the socket keep run() from returning while it is open. At first it does. unref() ends this.
  void ref() const;
  /// Lets run() return although the socket is open.
  void unref() const;
  /// @return True if ref() was called last, or neither ref() nor unref(). False for a handle without a socket.
  [[nodiscard]] bool has_ref() const noexcept;

  /// @return True if both handles mean the same socket, or neither has one.
  friend bool operator==(const Socket&, const Socket&) = default;

 private:
  std::shared_ptr<detail::SocketState> state_;
};

/// Listens, and makes a Socket of each client. create_server() makes it.
class ONLOOP_API Server {
 public:
  /// A handle without a server. listen() must not be called. No other call has an effect.
  Server() noexcept = default;
  /// For the library: a handle to a server that exists.
  explicit Server(std::shared_ptr<detail::ServerState> state) noexcept : state_(std::move(state)) {}

  /// Listens on `port` of `host`. `host` is an IP address or localhost. Port 0 means any free port. `listening` is
  /// called by a tick. If listening fails and there is a listener of 'error', a tick calls this listener.
  /// @throws std::system_error if listening fails and there is no listener of 'error'. With EINVAL if the server
  /// listens already, or has listened before and was closed.
  void listen(std::uint16_t port, std::string_view host = "127.0.0.1", std::function<void()> listening = {}) const;
  /// @overload
  /// This one listens on 127.0.0.1.
  void listen(std::uint16_t port, std::function<void()> listening) const;
  /// Listens on any Address on which a socket can listen.
  void listen(std::string_view address, std::function<void()> listening = {}) const;

  /// Adds a listener of 'connection': a client has connected. The listener gets its socket. Without a listener the
  /// client stays connected, and what it sends waits.
  void on_connection(std::function<void(Socket)> listener) const;
  /// Adds a listener of 'listening': the server listens. The event comes by a tick after listen(), and does not come if
  /// the server is closed before that tick.
  void on_listening(std::function<void()> listener) const;
  /// Adds a listener of 'error': the server can't listen.
  void on_error(std::function<void(std::error_code)> listener) const;
  /// Adds a listener of 'close': the server is closed, and so are all its connections.
  void on_close(std::function<void()> listener) const;

  /// @return The address on which the server listens. There is no address if it does not listen.
  [[nodiscard]] Address address() const;
  /// @return True from a listen() that succeeds until close().
  [[nodiscard]] bool listening() const noexcept;
  /// @return The number of open connections of this server.
  [[nodiscard]] std::size_t get_connections() const noexcept;
  /// @overload
  /// This one passes the number to the callback by a tick, and never passes an error.
  void get_connections(std::function<void(std::error_code, std::size_t)> callback) const;

  /// Stops listening. 'close' comes by a tick as soon as no connection is open, and `closed` is called with it. If the
  /// server does not listen, `closed` gets std::errc::not_connected.
  void close(std::function<void(std::error_code)> closed) const;
  /// @overload
  /// `closed` does not get the error here.
  void close(std::function<void()> closed = {}) const;

  /// Makes the server keep run() from returning while it listens. At first it does. unref() ends this. Each connection
  /// of the server keeps run() from returning by itself, whatever the server does.
  void ref() const;
  /// Lets run() return although the server listens.
  void unref() const;
  /// @return True if ref() was called last, or neither ref() nor unref(). False for a handle without a server.
  [[nodiscard]] bool has_ref() const noexcept;

  /// @return True if both handles mean the same server, or neither has one.
  friend bool operator==(const Server&, const Server&) = default;

 private:
  std::shared_ptr<detail::ServerState> state_;
};

/// The options of create_server().
struct ONLOOP_API ServerOptions {
  bool allow_half_open = false;  ///< if true, its sockets do not end by themselves when the peer ends
  ListenOptions listen = {};     ///< what Server::listen passes to Context::listen
};

/// The options of connect().
struct ONLOOP_API SocketOptions {
  bool allow_half_open = false;  ///< if true, the socket does not end by itself when the peer ends
  ConnectOptions connect = {};   ///< what this layer passes to Context::connect
};

/// Makes a server. It does not listen yet.
/// Each client goes to `on_connection`, a listener of 'connection'.
[[nodiscard]] ONLOOP_API Server create_server(Context& context, std::function<void(Socket)> on_connection);
/// @overload
/// This one takes options, too.
[[nodiscard]] ONLOOP_API Server create_server(Context& context, ServerOptions options = {},
                                              std::function<void(Socket)> on_connection = {});

/// Makes a socket that connects to `port` of `host`. `host` is an IP address or a name. If the attempt fails, 'error'
/// comes later.
/// @throws std::system_error only if no attempt is possible, as by Context::connect().
ONLOOP_API Socket connect(Context& context, std::uint16_t port, std::string_view host = "127.0.0.1",
                          std::function<void()> on_connect = {}, SocketOptions options = {});
/// @overload
/// This one connects to 127.0.0.1.
ONLOOP_API Socket connect(Context& context, std::uint16_t port, std::function<void()> on_connect);
/// Makes a socket that connects to any Address, or to `name:port`.
ONLOOP_API Socket connect(Context& context, std::string_view address, std::function<void()> on_connect = {},
                          SocketOptions options = {});

}  // namespace node
}  // namespace onloop
