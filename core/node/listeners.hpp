#pragma once
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace onloop::detail {

/// The functions that listen to one event of a socket or a server, in the order in which they were added. The state of
/// the socket or server owns them. Every call is for the context's thread.
template <class... A>
class Listeners {
 public:
  using Function = std::function<void(A...)>;

  void add(Function function) {
    if (function) functions_.push_back(std::make_shared<Function>(std::move(function)));
  }
  [[nodiscard]] bool empty() const noexcept { return functions_.empty(); }
  /// Calls the functions that listen now. A function that is added meanwhile is not called. If a function clears the
  /// list, no further function is called.
  void emit(A... arguments) {
    const std::size_t count = functions_.size();
    for (std::size_t i = 0; i < count && i < functions_.size(); ++i) {
      const std::shared_ptr<Function> function = functions_[i];
      (*function)(arguments...);
    }
  }
  /// Removes all functions. What they own may call this object while it is destroyed.
  void clear() noexcept { const auto dropped = std::exchange(functions_, {}); }

 private:
  std::vector<std::shared_ptr<Function>> functions_;
};

}  // namespace onloop::detail
