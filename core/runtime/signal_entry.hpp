#pragma once
#include <onloop/function.hpp>

#include <optional>

#include "core/base/counted.hpp"
#include "core/runtime/signal_table.hpp"

namespace onloop::detail {

class Runtime;

/// The object behind a Signal: one watch of a signal in one context. The Signal handle owns it, and so does the frame
/// that calls its callback. Thread: the context's.
class SignalEntry final : public Counted {
 public:
  /// Throws std::system_error if the signal can't be watched.
  SignalEntry(Runtime& runtime, int number, Function<void()> callback);

  [[nodiscard]] bool active() const noexcept { return runtime_ != nullptr; }
  [[nodiscard]] int number() const noexcept { return number_; }
  void cancel() noexcept;
  /// Ends the watch because the context is destroyed. SignalWatches takes it out of its list.
  void sever() noexcept;
  /// Calls the callback.
  void call();

  bool due = false;  // the signal came, and the callback is still to be called; SignalWatches sets and clears this

 private:
  Runtime* runtime_;  // null when the watch has ended
  const int number_;
  Function<void()> callback_;
  std::optional<SignalSubscription> subscription_;
};

}  // namespace onloop::detail
