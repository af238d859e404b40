#include "core/process/children.hpp"

#include "core/process/child.hpp"

namespace onloop::detail {

void Children::sever() noexcept {
  if (!runtime_.forked()) {
    for (const Child* child : children_) (void)child->kill_now();  // all are killed before this waits for the first
    for (const Child* child : children_) {
      if (child->kill_now()) child->reap();
    }
  }
  forget();
}

void Children::after_fork() noexcept {
  forget();
}

void Children::forget() noexcept {
  while (!children_.empty()) children_.back()->sever();
}

}  // namespace onloop::detail
