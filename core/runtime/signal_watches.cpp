#include "core/runtime/signal_watches.hpp"

#include <algorithm>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/signal_entry.hpp"

namespace onloop::detail {

void SignalWatches::remove(SignalEntry& entry) noexcept {
  std::replace(entries_.begin(), entries_.end(), &entry, static_cast<SignalEntry*>(nullptr));
  if (serving_ == 0) std::erase(entries_, nullptr);
}

void SignalWatches::sever() noexcept {
  for (SignalEntry* entry : entries_) {
    if (entry) entry->sever();
  }
  entries_.clear();
}

void SignalWatches::note(std::uint64_t came) noexcept {
  if (came == 0) return;
  due_ = true;
  for (SignalEntry* entry : entries_) {
    if (entry && (came >> (entry->number() - 1) & 1)) entry->due = true;
  }
}

void SignalWatches::look_after_handlers() const noexcept {
  if (!empty()) SignalSubscription::look_after_all();
}

void SignalWatches::serve(Runtime& runtime) {
  ++serving_;
  const AtScopeExit at_end([this] { end_serving(); });
  std::size_t i = std::exchange(next_, 0);
  for (std::size_t left = entries_.size(); left > 0 && !entries_.empty() && !runtime.turn_is_over(); --left, ++i) {
    if (i >= entries_.size()) i = 0;
    SignalEntry* entry = entries_[i];
    if (!entry || !entry->due) continue;
    entry->due = false;
    entry->call();
    if (!runtime.budget_is_spent()) continue;
    next_ = i + 1;
    return;
  }
}

/// A frame leaves serve(). The last one takes the removed entries out of the list.
void SignalWatches::end_serving() noexcept {
  if (--serving_ == 0) std::erase(entries_, nullptr);
  due_ = std::any_of(entries_.begin(), entries_.end(), [](const SignalEntry* entry) { return entry && entry->due; });
}

}  // namespace onloop::detail
