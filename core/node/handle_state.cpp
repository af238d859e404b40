#include "core/node/handle_state.hpp"

#include <utility>

#include "core/node/phases.hpp"

namespace onloop::detail {

HandleState::HandleState(Phases& phases) noexcept {
  if (phases.severed_) return;  // something that is dropped with the context has made this state
  phases_ = &phases;
  after_ = std::exchange(phases.handles_, this);
  if (after_) after_->before_ = this;
}

HandleState::~HandleState() {
  if (!phases_) return;
  (before_ ? before_->after_ : phases_->handles_) = after_;
  if (after_) after_->before_ = before_;
}

void HandleState::check_thread() const {
  if (phases_) phases_->runtime_.check_thread();
}

void HandleState::activate() {
  if (active() || !phases_) return;
  self_ = shared_from_this();
  if (!referenced_) return;
  ++phases_->references_;
  phases_->keep(true);
}

void HandleState::deactivate() noexcept {
  const std::shared_ptr<HandleState> last = std::move(self_);
  if (!last || !phases_ || !referenced_) return;
  if (--phases_->references_ == 0) phases_->schedule();
}

void HandleState::set_ref(bool on) {
  if (referenced_ == on) return;
  referenced_ = on;
  if (!active() || !phases_) return;
  if (on) {
    ++phases_->references_;
    phases_->keep(true);
  } else if (--phases_->references_ == 0) {
    phases_->schedule();
  }
}

}  // namespace onloop::detail
