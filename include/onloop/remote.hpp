#pragma once
#include <onloop/export.h>
#include <onloop/task.hpp>

#include <memory>
#include <type_traits>

namespace onloop {

namespace detail {
class Mailbox;
}

/// A reference to a context for other threads and for signal handlers (Context::remote). A Remote may be copied, and
/// may outlive the context. In a forked child it has no effect until Context::after_fork.
class ONLOOP_API Remote {
 public:
  /// Runs `task` on the context's thread, in a later turn. The tasks of one thread run in the order of the posts. If
  /// the context is destroyed before a task has run, the task is destroyed with the context.
  ///
  /// Thread: any.
  /// @return False if the task was destroyed and did not run. Either the context is gone, or ContextOptions::max_posted
  /// tasks wait. Call alive() to find out which.
  bool post(Task task) const;
  // For a callable of a wrong shape: the compiler refuses it with a sentence. Nobody can call this function. Therefore
  // it is not in the reference.
  /// @cond
  template <class F>
  requires(!std::is_convertible_v<F, Task>) bool post(F&&) const {
    static_assert(detail::kNever<F>,
                  "Remote::post takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
    return false;
  }
  /// @endcond
  /// Thread: any.
  /// @return False if the context is gone. Then no post() succeeds any more.
  [[nodiscard]] bool alive() const noexcept;
  /// Makes the context call ContextOptions::on_wake. One call of on_wake stands for all wakes that came before it.
  ///
  /// Thread: any. The function is async-signal-safe: it never blocks, allocates nothing and does not change errno.
  void wake() const noexcept;

 private:
  friend class Context;
  explicit Remote(std::shared_ptr<detail::Mailbox> mailbox) noexcept : mailbox_(std::move(mailbox)) {}
  std::shared_ptr<detail::Mailbox> mailbox_;
};

}  // namespace onloop
