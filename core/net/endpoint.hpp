#pragma once
#include <onloop/protocol.hpp>

#include <cstdint>

namespace onloop::detail {

/// The part of a listener or of a connection that its protocol knows: an entry in the protocol's list. A protocol that
/// is destroyed severs all listeners and connections in its list. The list owns nothing.
class Endpoint {
 public:
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  /// @return The protocol, or null once the endpoint was severed.
  [[nodiscard]] Protocol* protocol() const noexcept { return protocol_; }
  /// Moves the endpoint from the list of its protocol into the list of `protocol`. Null takes it out of any list.
  void set_protocol(Protocol* protocol) noexcept;
  /// Severs all listeners and connections of `protocol`: closes them, and calls nothing of the protocol any more.
  static void sever_all(Protocol& protocol) noexcept;

 protected:
  enum class Kind : std::uint8_t { acceptor, stream };
  explicit Endpoint(Kind kind) noexcept : kind_(kind) {}
  ~Endpoint() = default;

 private:
  Protocol* protocol_ = nullptr;
  Endpoint* before_ = nullptr;
  Endpoint* after_ = nullptr;
  const Kind kind_;  // not a virtual function: that would cost each connection a pointer
};

}  // namespace onloop::detail
