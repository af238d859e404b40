#pragma once
#include <functional>
#include <optional>

#include "core/runtime/signal_table.hpp"

namespace onloop::detail {

class Runtime;

/// What a Signal owns. Counted: by its handle, and by the frame that is calling back.
class SignalEntry {
 public:
  SignalEntry(Runtime& runtime, int number, std::function<void()> callback);  // throws std::system_error
  SignalEntry(const SignalEntry&) = delete;
  SignalEntry& operator=(const SignalEntry&) = delete;

  [[nodiscard]] bool active() const noexcept { return runtime_ != nullptr; }
  [[nodiscard]] int number() const noexcept { return number_; }
  void cancel() noexcept;
  /// The context goes.
  void sever() noexcept;
  void call();
  void release() noexcept {
    if (--references_ == 0) delete this;
  }

  bool due = false;  // came, and is to be called: kept by Runtime

 private:
  ~SignalEntry() = default;

  Runtime* runtime_;
  const int number_;
  std::function<void()> callback_;
  std::optional<SignalSubscription> subscription_;
  unsigned references_ = 1;
};

}  // namespace onloop::detail
