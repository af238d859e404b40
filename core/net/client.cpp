#include "core/net/client.hpp"

#include <utility>

namespace onloop::detail {

void Client::set_protocol(Protocol* protocol) noexcept {
  if (protocol_) {
    (before_ ? before_->after_ : protocol_->clients_) = after_;
    if (after_) after_->before_ = before_;
  }
  protocol_ = protocol;
  before_ = after_ = nullptr;
  if (!protocol) return;
  after_ = std::exchange(protocol->clients_, this);
  if (after_) after_->before_ = this;
}

void Client::sever_all(Protocol& protocol) noexcept {
  while (protocol.clients_) protocol.clients_->sever();
}

}  // namespace onloop::detail
