#pragma once
#include <vector>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

class Child;

/// The children of one context.
class Children final : public Subsystem {
 public:
  explicit Children(Runtime& runtime) noexcept : runtime_(runtime) {}
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }
  void add(Child& child) { children_.push_back(&child); }
  void remove(Child& child) noexcept { std::erase(children_, &child); }

  /// Kills and reaps them, so that no zombie is left.
  void sever() noexcept override;
  /// They are the parent's.
  void after_fork() noexcept override;

 private:
  void forget() noexcept;

  Runtime& runtime_;
  std::vector<Child*> children_;
};

}  // namespace onloop::detail
