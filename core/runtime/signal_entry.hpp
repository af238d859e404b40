#pragma once
#include <onloop/function.hpp>

#include <optional>

#include "core/base/counted.hpp"
#include "core/runtime/signal_table.hpp"

namespace onloop::detail {

class Runtime;

/// What a Signal owns. The handle owns it, and so does the frame that is calling back.
class SignalEntry final : public Counted {
 public:
  SignalEntry(Runtime& runtime, int number, Function<void()> callback);  // throws std::system_error

  [[nodiscard]] bool active() const noexcept { return runtime_ != nullptr; }
  [[nodiscard]] int number() const noexcept { return number_; }
  void cancel() noexcept;
  /// The context goes.
  void sever() noexcept;
  void call();

  bool due = false;  // came, and is to be called: kept by SignalWatches

 private:
  Runtime* runtime_;
  const int number_;
  Function<void()> callback_;
  std::optional<SignalSubscription> subscription_;
};

}  // namespace onloop::detail
