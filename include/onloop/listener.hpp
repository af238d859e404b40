#pragma once
#include <onloop/export.h>
#include <onloop/address.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace onloop {

class Listener;

/// What one listener has done so far. Bytes are counted for the whole context only (Context::statistics).
struct ONLOOP_API ListenerStatistics {
  std::uint64_t accepted = 0;     ///< clients that became connections
  std::uint64_t turned_away = 0;  ///< clients closed at once: by on_accept, max_connections, or for want of descriptors
  std::uint64_t connections = 0;  ///< accepted here, and not over yet
};

/// A weak reference to a listener, as Ref is one to a connection.
///
/// Thread: it may be copied, moved and destroyed on any thread; get() is for the context's.
class ONLOOP_API WeakListener {
 public:
  /// Refers to none.
  WeakListener() noexcept = default;
  /// Refers to `listener`, and does not own it.
  explicit WeakListener(Listener& listener) noexcept;
  /// Refers to the same listener as `other`.
  WeakListener(const WeakListener& other) noexcept;
  /// Takes the reference of `other`, which then refers to none.
  WeakListener(WeakListener&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  /// Refers to the listener of `other`. Serves as copy assignment and as move assignment.
  WeakListener& operator=(WeakListener other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~WeakListener();
  /// @return The listener, or null once it was closed, drained or handed over, or its context or protocol is gone.
  [[nodiscard]] Listener* get() const noexcept;
  /// @return True if get() is not null.
  explicit operator bool() const noexcept { return get() != nullptr; }
  /// @return The same as get(). It must not be null.
  Listener* operator->() const noexcept { return get(); }

 private:
  Listener* held_ = nullptr;  // the memory of a listener outlives it for as long as a WeakListener holds it
};

/// Accepts clients. The context owns it: from Context::listen() until close(), or until its context or protocol is
/// destroyed. Every call is for the context's thread.
class ONLOOP_API Listener {
 public:
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens: the first of addresses(), with the port that the kernel gave.
  [[nodiscard]] const Address& address() const noexcept;
  /// One for each of its sockets: one for each address that it was given, two for `localhost`, with one port,
  /// and one for each socket of the name for `fd:name`.
  [[nodiscard]] std::span<const Address> addresses() const noexcept;
  /// Connections that it accepted and that are not over yet.
  [[nodiscard]] std::size_t connection_count() const noexcept;
  /// What it has done since listen(), or since it came here from another process.
  [[nodiscard]] ListenerStatistics statistics() const noexcept;
  /// @return A weak reference to this listener, for code that may need the listener after it is closed.
  [[nodiscard]] WeakListener ref() noexcept { return WeakListener(*this); }
  /// Stops accepting. Clients wait in the kernel's backlog until resume().
  void pause();
  /// Accepts again after pause().
  /// @throws std::system_error if the loop can't watch the socket.
  void resume();
  /// Stops listening, and unlinks the file of a UNIX socket that is still its own. Accepted connections live on. The
  /// reference is invalid when this returns.
  void close();

 protected:
  Listener() noexcept = default;
  ~Listener() = default;
};

}  // namespace onloop
