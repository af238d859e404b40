#include "core/net/endpoint.hpp"

#include <utility>

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
  while (protocol.endpoints_) protocol.endpoints_->sever();
}

}  // namespace onloop::detail
