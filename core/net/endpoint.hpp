#pragma once
#include <onloop/protocol.hpp>

namespace onloop::detail {

/// A listener or a connection as its protocol and its context know it: an entry in the list of either, so that each
/// can sever all of its own when it goes.
class Endpoint {
 public:
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  /// Closes and forgets: no callback comes any more.
  virtual void sever() noexcept = 0;

  /// Null once it was severed.
  [[nodiscard]] Protocol* protocol() const noexcept { return protocol_; }
  void set_protocol(Protocol* protocol) noexcept;
  static void sever_all(Protocol& protocol) noexcept;

 protected:
  Endpoint() noexcept = default;
  ~Endpoint() = default;

 private:
  Protocol* protocol_ = nullptr;
  Endpoint* before_ = nullptr;
  Endpoint* after_ = nullptr;
};

}  // namespace onloop::detail
