#include <onloop/remote.hpp>

#include <utility>

#include "core/runtime/mailbox.hpp"

namespace onloop {

bool Remote::post(Task task) const {
  return mailbox_->post(std::move(task));
}
bool Remote::alive() const noexcept {
  return !mailbox_->closed();
}
void Remote::wake() const noexcept {
  mailbox_->wake();
}

}  // namespace onloop
