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

/// What became of a write. go: taken. wait: taken, but more than the high-water mark is queued: stop until on_drain.
/// closed: discarded, since the connection is closing, its write side is shut down, or it is being handed to another
/// process (onloop/takeover.hpp).
enum class Flow : std::uint8_t { go, wait, closed };

/// A weak reference to a connection. May be copied, moved and destroyed on any thread; get() on the context's only.
class ONLOOP_API Ref {
 public:
  Ref() noexcept = default;
  Ref(const Ref& other) noexcept;
  Ref(Ref&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~Ref();
  /// The connection, or null once on_close has come or the connection was severed.
  [[nodiscard]] Connection* get() const noexcept;
  explicit operator bool() const noexcept { return get() != nullptr; }
  Connection* operator->() const noexcept { return get(); }

 private:
  friend class Connection;
  explicit Ref(Connection* held) noexcept : held_(held) {}
  Connection* held_ = nullptr;  // the memory of a connection outlives it for as long as a Ref holds it
};

/// While it lives, writes are gathered; when it goes, at the end of the callback as a rule, they are sent in one system
/// call. Gathers at most up to the high-water mark.
class [[nodiscard]] ONLOOP_API Cork {
 public:
  Cork(Cork&&) noexcept = default;
  Cork& operator=(Cork&&) = delete;
  ~Cork();

 private:
  friend class Connection;
  explicit Cork(Ref connection) noexcept : connection_(std::move(connection)) {}
  Ref connection_;
};

/// A stream socket in a context. The context owns it: from listen(), connect() or adopt() until on_close has returned,
/// or until its context or protocol is destroyed; keep a Ref beyond that. Every call is for the context's thread; from
/// another it throws std::system_error (EPERM) once the context is bound to its thread.
class ONLOOP_API Connection {
 public:
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Sends at once what the kernel takes and queues the rest; while connecting, queues all. No callback comes from
  /// within; an error comes later, by on_close.
  Flow write(std::span<const std::byte> data);
  Flow write(std::string_view text) { return write(std::as_bytes(std::span{text})); }
  /// The same for bytes that the caller gives away. What the kernel does not take at once is kept as it is: it is not
  /// copied. Use it for large writes. The vector keeps its memory until its last byte is sent, its unused capacity
  /// included.
  /// @param data Is moved from only as far as it has to be queued; what the caller finds in it then is unspecified.
  Flow write(std::vector<std::byte>&& data);
  /// The same for several pieces that are sent as one, in their order, by one system call. What the kernel does not
  /// take at once is copied.
  Flow write(std::span<const std::span<const std::byte>> pieces);
  /// Bytes taken by write() and not yet by the kernel.
  [[nodiscard]] std::size_t queued_bytes() const noexcept;
  Cork cork();
  /// Runs `task` once, from the loop, as soon as no more than Limits::low_water is queued, or the connection is over:
  /// look at a Ref. For whoever streams into a connection whose protocol, and on_drain, are another's.
  void when_drained(Task task);

  /// Stops on_data and on_end until resume_reading(). Meanwhile a FIN or a reset from the peer is not noticed (a write
  /// notices the latter), and the idle time-out runs. Does not count calls.
  void pause_reading();
  void resume_reading();
  /// Replaces Limits::idle_timeout, and counts from now. Zero: none.
  void set_idle_timeout(std::chrono::nanoseconds timeout);
  /// From now on `protocol` gets the callbacks. It gets no on_open. The state stays.
  void set_protocol(Protocol& protocol);

  /// Flushes, then sends a FIN; reading goes on. When the peer ends too, the connection closes.
  void shutdown_write();
  /// Flushes, sends a FIN, reads and discards until the peer's end or Limits::linger, then closes: nothing that was
  /// written is lost to a reset because of unread input. on_close is the only callback that still comes. While
  /// connecting: gives up, on_close gets ECANCELED.
  void close();
  /// Closes now, discards what is queued, sends a reset. on_close gets `error`. A UNIX socket has no reset: unless
  /// bytes of the peer's are unread, it takes this for an orderly end. A protocol over UNIX sockets needs an end mark
  /// or a length of its own to tell a complete stream from one that was cut off.
  void abort(std::error_code error = {});

  /// Asked of the kernel at each call. It is known after a reset, too, and while on_close runs.
  [[nodiscard]] Address peer() const;
  [[nodiscard]] Address local() const;
  [[nodiscard]] Context& context() const;
  /// The socket, -1 once it is closed. The connection's: for getsockopt and the like.
  [[nodiscard]] int fd() const noexcept;
  [[nodiscard]] Ref ref() noexcept;

  /// Makes the S that belongs to this connection, in place of any former state; destroyed after on_close, or with the
  /// connection where that is severed without one.
  template <class S, class... A>
  S& emplace_state(A&&... arguments) {
    auto made = std::make_unique<StateOf<S>>(std::forward<A>(arguments)...);
    S& state = made->value;
    set_state(std::move(made));
    return state;
  }
  /// The state. Throws std::bad_cast if there is none or it is no S.
  template <class S>
  S& state() {
    if (S* found = find_state<S>()) return *found;
    throw std::bad_cast();
  }
  /// @return The state, or null if there is none or it is no S.
  template <class S>
  [[nodiscard]] S* find_state() noexcept {
    State* found = find_state(typeid(S));
    return found ? &static_cast<StateOf<S>*>(found)->value : nullptr;
  }

 protected:
  Connection() noexcept = default;
  ~Connection() = default;
  struct State {
    State() noexcept = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    virtual ~State() = default;
    [[nodiscard]] virtual const std::type_info& type() const noexcept = 0;
  };

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
