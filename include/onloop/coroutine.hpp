#pragma once
/// @file
/// C++20 coroutines on a context. They are built on onloop/node/net.hpp and have its liveness: run() returns when no
/// coroutine, server or socket is left.
///
///     onloop::co::Async<> echo(onloop::co::Stream connection) {
///       while (const auto data = co_await connection.read()) co_await connection.write(*data);
///     }
///     onloop::co::serve(context, "127.0.0.1:8080", echo);
///
/// A suspended coroutine continues in a microtask. This microtask runs after the callback that completed the awaited
/// operation has returned, and before any other callback.
///
/// Thread: everything here is for the context's thread.
///
/// Cancellation: when a connection ends, a coroutine that awaits it continues, and the result says that the connection
/// has ended. When the context is destroyed, every suspended coroutine is destroyed where it stands: the destructors of
/// its locals run, and nothing else of it. A coroutine that is running at that time is destroyed at its next
/// suspension.
///
/// Errors: an exception of a coroutine goes to the coroutine that awaits it. An exception of the outermost coroutine
/// leaves run(), like the exception of any callback.
#include <onloop/detail/coroutine.hpp>
#include <onloop/node/net.hpp>

#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

/// Coroutines on a context; onloop/coroutine.hpp has their rules.
namespace onloop::co {

/// A coroutine whose result is a T. It begins when it is awaited. It may be awaited once. If it is destroyed before it
/// is awaited, it never begins.
template <class T = void>
class [[nodiscard]] Async {
 public:
  /// The type by which the compiler finds how this coroutine works.
  using promise_type = detail::Promise<T>;
  /// For the compiler: takes the frame of a coroutine that has not begun.
  Async(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  /// Takes the coroutine of `other`, which then has none and must not be awaited.
  Async(Async&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  /// Swaps the coroutines: `other` gets the coroutine of this object.
  Async& operator=(Async&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  /// Destroys the coroutine, whether it has begun, has ended, or neither.
  ~Async() {
    if (frame_) frame_.destroy();
  }

  /// Begins the coroutine and waits for its end: `co_await function()`.
  /// @return The result of the coroutine.
  /// @throws The exception that left the coroutine.
  [[nodiscard]] auto operator co_await() && noexcept { return detail::AwaitAsync<T>{frame_}; }

 private:
  std::coroutine_handle<promise_type> frame_;
};

/// Starts `function()`, a coroutine without a result, as a microtask. The callable is kept as long as the coroutine
/// runs, and therefore the captures of a lambda are kept, too.
template <class F>
void spawn(Context& context, F function) {
  constexpr bool kIsCoroutine = requires {
    { function() } -> std::same_as<Async<>>;
  };
  static_assert(kIsCoroutine,
                "onloop::co::spawn takes a callable without parameters that gives an onloop::co::Async<>: "
                "[]() -> onloop::co::Async<> { co_await ...; }");
  if constexpr (kIsCoroutine) detail::outermost(context, std::make_unique<F>(std::move(function))).start.schedule();
}

/// A connection for coroutines. Bytes that are not read stay with the peer.
///
/// Ownership: a Stream is move-only. Its destructor flushes what is queued and closes the connection, as
/// Connection::close does.
///
/// At most one coroutine at a time may await read(), and at most one may await write(). Another coroutine gets
/// std::system_error (EBUSY).
class Stream {
 public:
  /// Makes a Stream of a socket that connects or is connected. The socket must have no listeners of its own, and should
  /// allow half-open connections.
  explicit Stream(node::Socket socket) : socket_(std::move(socket)), state_(std::make_shared<detail::StreamState>()) {
    const auto waiters = std::make_shared<detail::Waiters>();
    waiters_ = waiters;
    socket_.on_data([state = state_, waiters, socket = socket_](std::span<const std::byte> data) {
      state->received.insert(state->received.end(), data.begin(), data.end());
      if (state->received.size() >= state->keep) socket.pause();
      waiters->reader.schedule();
    });
    socket_.pause();
    socket_.on_end([state = state_, waiters] {
      state->peer_ended = true;
      waiters->reader.schedule();
    });
    socket_.on_drain([state = state_, waiters, socket = socket_] {
      if (!socket.writable()) state->ended = true;  // a write has failed
      waiters->writer.schedule();
    });
    socket_.on_close([state = state_, waiters](std::error_code error) {
      state->over = true;
      state->error = error;
      waiters->reader.schedule();
      waiters->writer.schedule();
    });
  }
  /// Takes the connection from another Stream, which then has none.
  Stream(Stream&&) noexcept = default;
  /// Swaps the connections: `other` gets the connection of this object.
  Stream& operator=(Stream&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(state_, other.state_);
    std::swap(waiters_, other.waiters_);
    return *this;
  }
  /// Flushes the queue and closes the connection. It does not wait for that.
  ~Stream() { socket_.destroy_soon(); }

  /// Reads: `co_await connection.read()`.
  /// @return A std::optional<std::span<const std::byte>> with the bytes that have arrived. The span is valid until the
  /// next read(). The optional is empty when no more bytes will arrive; error() says why.
  [[nodiscard]] auto read() { return detail::Read{socket_, *state_, waiters_}; }

  /// Sends: `co_await connection.write(data)`. If at most the high-water mark is queued, the coroutine continues at
  /// once. Otherwise it continues when the queue has drained. `data` is used only during this call. It need not live
  /// until the coroutine continues.
  ///
  /// While one coroutine waits here, another one may read(). If none reads, the bytes that arrive meanwhile are kept
  /// for the next read(). Up to 64 KiB plus twice the bytes that were queued are kept. Therefore two peers that each
  /// write() before they read() do not wait for each other for ever, whatever the size of their pieces. If the peer
  /// sends more than that, let another coroutine read.
  /// @return False if the connection has ended, or if end() was called.
  [[nodiscard]] auto write(std::span<const std::byte> data) {
    const bool taken = socket_.write(data);
    return detail::Write{socket_, *state_, waiters_, taken};
  }
  /// @overload
  /// This one takes the bytes of a text.
  [[nodiscard]] auto write(std::string_view text) { return write(std::as_bytes(std::span{text})); }

  /// Flushes the queue, then ends this side. Reading goes on.
  void end() {
    state_->ended = true;
    socket_.end();
  }
  /// Closes the connection now and discards the queue. The peer gets a reset (see node::Socket::reset_and_destroy). A
  /// coroutine that waits in read() continues with an empty result. A coroutine that waits in write() continues with
  /// false.
  void reset() {
    state_->ended = true;
    socket_.reset_and_destroy();
  }
  /// @return Why the connection has ended. There is no error while the connection is open, and none after an orderly
  /// end.
  [[nodiscard]] std::error_code error() const noexcept { return state_->error; }
  /// @return The socket, for its other functions, such as addresses and time-outs. The Stream owns the listeners of the
  /// socket.
  [[nodiscard]] const node::Socket& socket() const noexcept { return socket_; }

 private:
  node::Socket socket_;
  std::shared_ptr<detail::StreamState> state_;
  std::weak_ptr<detail::Waiters> waiters_;
};

/// Listens on `address`, and starts `handler(Stream)`, which returns an Async<>, for each client. server.close() ends
/// only the listening.
/// @throws std::system_error if it can't listen.
template <class F>
requires std::same_as<std::invoke_result_t<F&, Stream>, Async<>> node::Server serve(Context& context,
                                                                                    std::string_view address, F handler,
                                                                                    ListenOptions options = {}) {
  const node::Server server = node::create_server(context, {.allow_half_open = true, .listen = options});
  server.on_connection([&context, shared = std::make_shared<F>(std::move(handler))](node::Socket socket) {
    detail::outermost(context, shared, Stream(std::move(socket))).start.schedule();
  });
  server.listen(address);
  return server;
}

/// Connects: `co_await connect(address)`. `address` is an address or a name, as for Context::connect.
/// @return A Stream.
/// @throws std::system_error if there can be no connection.
[[nodiscard]] inline auto connect(std::string address, ConnectOptions options = {}) {
  return detail::Connect<Stream>{std::move(address), options};
}

/// Sleeps: `co_await sleep(10ms)`. If `duration` is zero or less, the coroutine continues in the next turn.
[[nodiscard]] inline auto sleep(std::chrono::nanoseconds duration) {
  return detail::Sleep{duration};
}

/// Runs blocking work: `co_await run_blocking(work)`. It follows the rules of Context::run_blocking.
/// @return The result of `work`.
/// @throws The exception that `work` throws, and std::system_error with EAGAIN as Context::run_blocking does.
template <class Work>
[[nodiscard]] auto run_blocking(Work work) {
  return detail::RunBlocking<Work>{std::move(work)};
}

/// The former name of Async. It goes with version 0.2.
template <class T = void>
using Task = Async<T>;
/// The former name of Stream. It goes with version 0.2.
using Connection = Stream;

}  // namespace onloop::co
