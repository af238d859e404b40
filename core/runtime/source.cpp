#include "core/runtime/source.hpp"

#include <utility>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

void Source::do_postponed() noexcept {
  const std::uint8_t postponed = std::exchange(postponed_, std::uint8_t{0});
  if (runtime_) {
    if (postponed & kDeferred) runtime_->defer(*this);
    if ((postponed & kInterest) && fd_ >= 0) {
      if (const std::error_code error = runtime_->sources().want(*this, wanted_)) on_watch_error(error);
    }
  }
  if (postponed & kDrop) drop();
}

}  // namespace onloop::detail
