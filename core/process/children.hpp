#pragma once
#include <vector>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

class Child;

/// The list of the child processes of one context. The context owns it; it owns no child. Thread: the context's.
class Children final : public Subsystem {
 public:
  explicit Children(Runtime& runtime) noexcept : runtime_(runtime) {}
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }
  void add(Child& child) { children_.push_back(&child); }
  void remove(Child& child) noexcept { std::erase(children_, &child); }

  /// Kills and reaps all children, so that no zombie is left. In a forked child it only forgets them.
  void sever() noexcept override;
  /// Forgets all children, because they are children of the parent process.
  void after_fork() noexcept override;

 private:
  void forget() noexcept;

  Runtime& runtime_;
  std::vector<Child*> children_;
};

}  // namespace onloop::detail
