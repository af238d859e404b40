#pragma once
#include <onloop/export.h>
#include <onloop/address.hpp>

#include <cstddef>
#include <span>

namespace onloop {

/// Accepts clients. The context owns it: from Context::listen() until close(), or until its context or protocol is
/// destroyed. Every call is for the context's thread.
class ONLOOP_API Listener {
 public:
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens: the first of addresses(), with the port that the kernel gave.
  [[nodiscard]] const Address& address() const noexcept;
  /// One for each of its sockets: two for `localhost`, each socket of the name for `fd:name`.
  [[nodiscard]] std::span<const Address> addresses() const noexcept;
  /// Connections that it accepted and that are not over yet.
  [[nodiscard]] std::size_t connection_count() const noexcept;
  /// Clients wait in the kernel's backlog until resume().
  void pause();
  /// Throws std::system_error if the loop can't watch the socket.
  void resume();
  /// Stops listening, and unlinks the file of a UNIX socket that is still its own. Accepted connections live on. The
  /// reference is invalid when this returns.
  void close();

 protected:
  Listener() noexcept = default;
  ~Listener() = default;
};

}  // namespace onloop
