#pragma once
#include <onloop/protocol.hpp>

#include <cstdint>

namespace onloop::detail {

/// A listener or a connection as its protocol knows it: an entry in the protocol's list, so that a protocol that is
/// destroyed can sever all of its own.
class Endpoint {
 public:
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  /// Null once it was severed.
  [[nodiscard]] Protocol* protocol() const noexcept { return protocol_; }
  void set_protocol(Protocol* protocol) noexcept;
  /// Closes all that have this protocol. They make no further call.
  static void sever_all(Protocol& protocol) noexcept;

 protected:
  enum class Kind : std::uint8_t { acceptor, stream };
  explicit Endpoint(Kind kind) noexcept : kind_(kind) {}
  ~Endpoint() = default;

 private:
  Protocol* protocol_ = nullptr;
  Endpoint* before_ = nullptr;
  Endpoint* after_ = nullptr;
  const Kind kind_;  // instead of a virtual function, which would cost each connection a pointer
};

}  // namespace onloop::detail
