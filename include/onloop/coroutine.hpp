#pragma once
/// C++20 coroutines on a context, over onloop/net.hpp and with its liveness: run() returns when no coroutine, server or
/// socket is left.
///
///     onloop::co::Async<> echo(onloop::co::Stream connection) {
///       while (const auto data = co_await connection.read()) co_await connection.write(*data);
///     }
///     onloop::co::serve(context, "127.0.0.1:8080", echo);
///
/// A coroutine that was suspended goes on in a microtask: after the callback that brought what it awaits has returned,
/// and before any other. Everything is for the context's thread.
///
/// Cancellation: when a connection goes, what awaits it goes on and is told so. When the context goes, every suspended
/// coroutine is destroyed where it stands: its locals' destructors run, nothing else of it does. One that is running
/// then is destroyed at its next suspension.
///
/// Errors: what a coroutine throws goes to the one that awaits it; from the outermost it leaves run() like the
/// exception of any callback.
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

namespace onloop::co {

/// A coroutine that gives a T. It begins when it is awaited, once; destroyed before, it never does.
template <class T = void>
class [[nodiscard]] Async {
 public:
  using promise_type = detail::Promise<T>;
  Async(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  Async(Async&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  Async& operator=(Async&& other) noexcept {
    std::swap(frame_, other.frame_);
    return *this;
  }
  ~Async() {
    if (frame_) frame_.destroy();
  }

  [[nodiscard]] auto operator co_await() && noexcept { return detail::AwaitAsync<T>{frame_}; }

 private:
  std::coroutine_handle<promise_type> frame_;
};

/// Starts `function()`, a coroutine without a result, as a microtask. The callable is kept as long as it runs, and so
/// is what a lambda captures.
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

/// A connection as coroutines use it: what is not read stays with the peer. Move-only; when it goes, so does the
/// connection, once everything is flushed (as by Connection::close). At most one coroutine at a time may await
/// read(), and one write(); another gets std::system_error (EBUSY).
class Stream {
 public:
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
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(state_, other.state_);
    std::swap(waiters_, other.waiters_);
    return *this;
  }
  ~Stream() { socket_.destroy_soon(); }

  /// `co_await connection.read()`: a std::optional<std::span<const std::byte>> of what has come, valid until the next
  /// read(); nothing when nothing more will come: error() says why.
  [[nodiscard]] auto read() { return detail::Read{socket_, *state_, waiters_}; }

  /// `co_await connection.write(data)`: sends, and goes on at once, or while more than the high-water mark is queued as
  /// soon as that has drained. False: the connection is over, or end() was called. `data` is used until it is called.
  /// While one coroutine waits here, another may read(). If none does, what comes meanwhile is kept for the next
  /// read(), up to twice the bytes that were queued, and 64 KiB: so two peers that each write() before they read(), in
  /// pieces of whatever size, do not wait for each other for ever. Where the peer sends more than that, let another
  /// coroutine read.
  [[nodiscard]] auto write(std::span<const std::byte> data) {
    const bool taken = socket_.write(data);
    return detail::Write{socket_, *state_, waiters_, taken};
  }
  [[nodiscard]] auto write(std::string_view text) { return write(std::as_bytes(std::span{text})); }

  /// Flushes, then ends this side; reading goes on.
  void end() {
    state_->ended = true;
    socket_.end();
  }
  /// Closes now, discards what is queued, and the peer gets a reset (see node::Socket::reset_and_destroy). What waits
  /// in read() or write() goes on: nothing, and false.
  void reset() {
    state_->ended = true;
    socket_.reset_and_destroy();
  }
  /// Why it is over; none while it is not, and after an orderly end.
  [[nodiscard]] std::error_code error() const noexcept { return state_->error; }
  /// For what else it can do: addresses, time-outs. Its listeners are this object's.
  [[nodiscard]] const node::Socket& socket() const noexcept { return socket_; }

 private:
  node::Socket socket_;
  std::shared_ptr<detail::StreamState> state_;
  std::weak_ptr<detail::Waiters> waiters_;
};

/// Listens on `address` and starts `handler(Stream)`, a Async<>, for each client. Throws std::system_error if it
/// can't listen. server.close() ends only the listening.
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

/// `co_await connect(address)`: a Stream, to an address or name as Context::connect takes them. Throws
/// std::system_error if there can be none.
[[nodiscard]] inline auto connect(std::string address, ConnectOptions options = {}) {
  return detail::Connect<Stream>{std::move(address), options};
}

/// `co_await sleep(10ms)`; zero or less: until the next turn.
[[nodiscard]] inline auto sleep(std::chrono::nanoseconds duration) {
  return detail::Sleep{duration};
}

/// `co_await run_blocking(work)`: its result, or what it throws; as Context::run_blocking, EAGAIN included.
template <class Work>
[[nodiscard]] auto run_blocking(Work work) {
  return detail::RunBlocking<Work>{std::move(work)};
}

/// The former names. They go with version 0.2.
template <class T = void>
using Task = Async<T>;
using Connection = Stream;

}  // namespace onloop::co
