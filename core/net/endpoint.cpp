#include "core/net/endpoint.hpp"

#include <utility>

#include "core/net/acceptor.hpp"
#include "core/net/stream.hpp"

namespace onloop::detail {

void Endpoint::set_protocol(Protocol* protocol) noexcept {
  if (protocol_) {
    (before_ ? before_->after_ : protocol_->endpoints_) = after_;
    if (after_) after_->before_ = before_;
  }
  protocol_ = protocol;
  before_ = after_ = nullptr;
  if (!protocol) return;
  after_ = std::exchange(protocol->endpoints_, this);
  if (after_) after_->before_ = this;
}

void Endpoint::sever_all(Protocol& protocol) noexcept {
  while (Endpoint* endpoint = protocol.endpoints_) {
    if (endpoint->kind_ == Kind::stream) {
      static_cast<Stream*>(endpoint)->sever();
    } else {
      static_cast<Acceptor*>(endpoint)->sever();
    }
  }
}

}  // namespace onloop::detail
