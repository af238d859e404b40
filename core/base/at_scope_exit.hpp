#pragma once
#include <type_traits>
#include <utility>

namespace onloop::detail {

/// Calls a function when the scope ends, also when an exception ends it. The function must not throw.
template <class F>
class [[nodiscard]] AtScopeExit {
 public:
  explicit AtScopeExit(F function) noexcept(std::is_nothrow_move_constructible_v<F>) : function_(std::move(function)) {}
  AtScopeExit(const AtScopeExit&) = delete;
  AtScopeExit& operator=(const AtScopeExit&) = delete;
  ~AtScopeExit() { function_(); }

 private:
  F function_;
};

}  // namespace onloop::detail
