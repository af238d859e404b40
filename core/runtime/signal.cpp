// Signal, and the object behind it (SignalEntry).
#include <onloop/signal.hpp>

#include "core/runtime/runtime.hpp"
#include "core/runtime/signal_entry.hpp"

namespace onloop {
namespace detail {

SignalEntry::SignalEntry(Runtime& runtime, int number, Function<void()> callback)
    : runtime_(&runtime), number_(number), callback_(std::move(callback)) {
  runtime.turn().signals().add(*this);
  try {
    subscription_.emplace(number, runtime.mailbox());
  } catch (...) {
    runtime.turn().signals().remove(*this);
    throw;
  }
}

void SignalEntry::cancel() noexcept {
  if (!runtime_) return;
  runtime_->check_thread_or_die();
  runtime_->turn().signals().remove(*this);
  sever();
}

void SignalEntry::sever() noexcept {
  subscription_.reset();
  runtime_ = nullptr;
}

void SignalEntry::call() {
  const Held<SignalEntry> held(*this);  // the callback may destroy the handle
  callback_();
}

void Retire::operator()(SignalEntry* entry) const noexcept {
  entry->cancel();
  Held<SignalEntry>::drop(entry);
}

}  // namespace detail

void Signal::cancel() noexcept {
  if (entry_) entry_->cancel();
}

bool Signal::active() const noexcept {
  return entry_ && entry_->active();
}

}  // namespace onloop
