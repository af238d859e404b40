#pragma once
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace onloop::detail {

/// Those who listen to one event.
template <class... A>
class Listeners {
 public:
  using Function = std::function<void(A...)>;

  void add(Function function) {
    if (function) functions_.push_back(std::make_shared<Function>(std::move(function)));
  }
  [[nodiscard]] bool empty() const noexcept { return functions_.empty(); }
  /// Calls those that there are now. One of them may add others, or clear them all, which ends it.
  void emit(A... arguments) {
    const std::size_t count = functions_.size();
    for (std::size_t i = 0; i < count && i < functions_.size(); ++i) {
      const std::shared_ptr<Function> function = functions_[i];
      (*function)(arguments...);
    }
  }
  /// What the functions own may come back here when it goes.
  void clear() noexcept { const auto dropped = std::exchange(functions_, {}); }

 private:
  std::vector<std::shared_ptr<Function>> functions_;
};

}  // namespace onloop::detail
