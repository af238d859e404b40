#include "core/runtime/waker.hpp"

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

void Waker::on_ready(std::uint32_t) {
  runtime()->turn().take_mail(*runtime()->mailbox());
}

void Waker::sever() noexcept {
  runtime()->sources().unwatch(*this);
  cut_off();
}

}  // namespace onloop::detail
