#pragma once
#include <onloop/export.h>
#include <onloop/address.hpp>
#include <onloop/options.hpp>
#include <onloop/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace onloop {

class Connection;
class Context;
class Protocol;

/// The result of a write.
enum class Flow : std::uint8_t {
  /// The connection has taken the bytes.
  go,
  /// The connection has taken the bytes, but more than the high-water mark is queued. Stop writing until on_drain.
  wait,
  /// The connection has discarded the bytes. It is closing, or its write side is shut down, or it is being handed over
  /// to another process (onloop/takeover.hpp). Or this very write has failed, or has exceeded Limits::max_queued: then
  /// on_close comes.
  closed
};

/// A weak reference to a connection.
///
/// Thread: it may be copied, moved and destroyed on any thread. Call get() only on the context's thread.
class ONLOOP_API Ref {
 public:
  /// Refers to no connection.
  Ref() noexcept = default;
  /// Refers to the same connection as `other`.
  Ref(const Ref& other) noexcept;
  /// Takes the reference of `other`, which then refers to no connection.
  Ref(Ref&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  /// Refers to the connection of `other`. Serves as copy assignment and as move assignment.
  Ref& operator=(Ref other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~Ref();
  /// @return The connection, or null from the beginning of on_close on, or once the connection was severed.
  [[nodiscard]] Connection* get() const noexcept;
  /// @return True if get() is not null.
  explicit operator bool() const noexcept { return get() != nullptr; }
  /// @return The same as get(). It must not be null.
  Connection* operator->() const noexcept { return get(); }

 private:
  friend class Connection;
  explicit Ref(Connection* held) noexcept : held_(held) {}
  Connection* held_ = nullptr;  // the memory of a connection outlives it for as long as a Ref holds it
};

/// While a cork lives, the connection gathers its writes. When the cork is destroyed, as a rule at the end of the
/// callback, the connection sends them in one system call. As soon as Limits::high_water bytes are gathered, they are
/// sent in spite of the cork. queued_bytes() counts gathered bytes. Flow::wait comes only for bytes that the kernel has
/// refused.
class [[nodiscard]] ONLOOP_API Cork {
 public:
  /// Takes the cork from another object, whose destructor then does nothing.
  Cork(Cork&&) noexcept = default;
  Cork& operator=(Cork&&) = delete;
  /// Sends what was gathered, unless the connection has another cork or is gone.
  ~Cork();

 private:
  friend class Connection;
  explicit Cork(Ref connection) noexcept : connection_(std::move(connection)) {}
  Ref connection_;
};

/// A stream socket in a context. TCP_NODELAY is set on TCP connections that were accepted or connected here.
///
/// Ownership: the context owns the connection from listen(), connect() or adopt() until on_close has returned, or until
/// the context or the protocol is destroyed. To refer to a connection for longer, keep a Ref.
///
/// Every call is allowed at any time until on_close has returned. On a connection that is closing, abort() ends it at
/// once, and the other calls do nothing.
///
/// Thread: every call must be made on the context's thread. Once the context is bound to its thread, a call from
/// another thread throws std::system_error (EPERM).
class ONLOOP_API Connection {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Sends at once the bytes that the kernel takes, and queues the rest. While the connection is connecting, it queues
  /// all bytes. No callback comes from within this call, so it is safe to write to many connections in a loop. An error
  /// comes later, by on_close. A write never raises SIGPIPE.
  Flow write(std::span<const std::byte> data);
  /// @overload
  /// This one takes the bytes of a text.
  Flow write(std::string_view text) { return write(std::as_bytes(std::span{text})); }
  /// The same for bytes that the caller gives away. Use it for large writes. The bytes that the kernel does not take at
  /// once are kept in this vector and not copied. The vector keeps its whole memory, also its unused capacity, until
  /// its last byte is sent.
  /// @param data Is moved from only if bytes must be queued. Its contents after the call are unspecified.
  Flow write(std::vector<std::byte>&& data);
  /// The same for several pieces. They are sent together, in their order, by one system call. The bytes that the kernel
  /// does not take at once are copied.
  Flow write(std::span<const std::span<const std::byte>> pieces);
  // Bytes of another type are refused with a sentence. Nobody can call this function.
  /// @cond
  template <class T>
  requires(!std::is_convertible_v<T, std::span<const std::byte>> && !std::is_convertible_v<T, std::string_view> &&
           !std::is_convertible_v<T, std::vector<std::byte>> &&
           !std::is_convertible_v<T, std::span<const std::span<const std::byte>>>) Flow write(T&&) {
    static_assert(detail::kNever<T>,
                  "Connection::write takes text or std::byte. Pass std::as_bytes(std::span{data}) for other bytes.");
    return Flow::closed;
  }
  /// @endcond
  /// @return The number of bytes that write() has taken and the kernel has not.
  [[nodiscard]] std::size_t queued_bytes() const noexcept;
  /// Makes the connection gather its writes until the result is destroyed. Several corks may live at a time; the
  /// connection sends when the last one is destroyed.
  Cork cork();
  /// Runs `task` once, from the loop, as soon as at most Limits::low_water bytes are queued, or as soon as the
  /// connection has ended. The task must use a Ref to find out which. Use this function to write to a connection whose
  /// protocol, and therefore on_drain, belongs to other code.
  void when_drained(Task task);

  /// Stops on_data and on_end until resume_reading(). Meanwhile the connection does not notice a FIN or a reset from
  /// the peer; a write notices a reset. Limits::idle_timeout still runs: set it if a peer that vanishes must be
  /// noticed. Calls do not nest: one resume_reading() ends any number of pauses.
  void pause_reading();
  /// Ends pause_reading(). The bytes and the end that have arrived meanwhile are then reported.
  void resume_reading();
  /// Replaces Limits::idle_timeout. The time counts from now. Zero means no time-out.
  void set_idle_timeout(std::chrono::nanoseconds timeout);
  /// Makes `protocol` get the callbacks from now on. It gets no on_open. The state of the connection stays.
  void set_protocol(Protocol& protocol);

  /// Flushes the queue, then sends a FIN. Reading goes on. When the peer has ended its side too, the connection closes
  /// by itself, and on_close comes. While the connection is connecting, the bytes and the FIN are sent when it is open.
  void shutdown_write();
  /// Flushes the queue and sends a FIN. Then it reads and discards input until the peer ends its side or Limits::linger
  /// has passed, and closes; also if reading is paused. In this way unread input causes no reset that would lose bytes
  /// that were written. on_close is the only callback that still comes. While the connection is connecting, close()
  /// gives up, and on_close gets ECANCELED.
  void close();
  /// Closes the connection now. It discards the queue and sends a reset. While the connection is connecting, it gives
  /// up the attempt. on_close comes from the loop after this call, gets `error`, and is the only callback that still
  /// comes.
  ///
  /// A UNIX socket has no reset. Its peer takes an abort for an orderly end, unless bytes that the peer has sent are
  /// unread. A protocol over UNIX sockets needs an end mark or a length of its own, to tell a complete stream from a
  /// stream that was cut off.
  void abort(std::error_code error = {});

  /// The address of the peer. Each call asks the kernel. The address is also known after a reset, and in on_close of a
  /// connection that was open.
  /// @return The address. In on_close of a connect that has failed it is Address::Family::none.
  [[nodiscard]] Address peer() const;
  /// The address on our side. Each call asks the kernel.
  /// @return The address, or Address::Family::none once the socket is closed.
  [[nodiscard]] Address local() const;
  /// @return The context that owns this connection.
  [[nodiscard]] Context& context() const;
  /// @return The socket, or -1 once it is closed. The connection owns it. Use it for getsockopt(2) and similar calls.
  [[nodiscard]] int fd() const noexcept;
  /// @return A weak reference to this connection, for code that may need the connection after it has ended.
  [[nodiscard]] Ref ref() noexcept;

  /// Makes an S that belongs to this connection. It replaces any former state. It is destroyed after on_close. If the
  /// connection is severed, no on_close comes, and the state is destroyed with the connection.
  template <class S, class... A>
  S& emplace_state(A&&... arguments) {
    auto made = std::make_unique<StateOf<S>>(std::forward<A>(arguments)...);
    S& state = made->value;
    set_state(std::move(made));
    return state;
  }
  /// @return The state.
  /// @throws std::bad_cast if there is no state, or if the state is not an S.
  template <class S>
  S& state() {
    if (S* found = find_state<S>()) return *found;
    throw std::bad_cast();
  }
  /// @return The state, or null if there is none or if it is not an S.
  template <class S>
  [[nodiscard]] S* find_state() noexcept {
    State* found = find_state(typeid(S));
    return found ? &static_cast<StateOf<S>*>(found)->value : nullptr;
  }

 protected:
  Connection() noexcept = default;
  ~Connection() = default;
  // The library keeps the application's state in a type that it need not know.
  /// @cond
  struct State {
    State() noexcept = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    virtual ~State() = default;
    [[nodiscard]] virtual const std::type_info& type() const noexcept = 0;
  };
  /// @endcond

 private:
  template <class S>
  struct StateOf final : State {
    template <class... A>
    requires std::is_constructible_v<S, A...>
    explicit StateOf(A&&... arguments) : value(std::forward<A>(arguments)...) {}
    template <class... A>  // an aggregate: not every compiler initialises one by parentheses
    explicit StateOf(A&&... arguments) : value{std::forward<A>(arguments)...} {}
    [[nodiscard]] const std::type_info& type() const noexcept override { return typeid(S); }
    S value;
  };
  void set_state(std::unique_ptr<State> state);
  State* find_state(const std::type_info& type) noexcept;
};

}  // namespace onloop
