#pragma once
#include <onloop/export.h>
#include <onloop/task.hpp>

#include <memory>
#include <type_traits>

namespace onloop {

namespace detail {
class Mailbox;
}

/// What other threads and signal handlers hold of a context (Context::remote). Copyable; outlives the context. In a
/// forked child it is deaf until Context::after_fork.
class ONLOOP_API Remote {
 public:
  /// Any thread. Runs `task` on the context's thread, in a later turn; the tasks of one thread in their order. False:
  /// the task was destroyed without having run, since the context is gone or ContextOptions::max_posted tasks wait;
  /// alive() tells which. Tasks that have not run when the context is destroyed are destroyed with it.
  bool post(Task task) const;
  template <class F>
  requires(!std::is_convertible_v<F, Task>) bool post(F&&) const {
    static_assert(detail::kNever<F>,
                  "Remote::post takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
    return false;
  }
  /// Any thread. False: the context is gone, and no post will succeed again.
  [[nodiscard]] bool alive() const noexcept;
  /// Any thread, and async-signal-safe: never blocks, allocates nothing, leaves errno alone. Ends in
  /// ContextOptions::on_wake, once for any number of calls before it.
  void wake() const noexcept;

 private:
  friend class Context;
  explicit Remote(std::shared_ptr<detail::Mailbox> mailbox) noexcept : mailbox_(std::move(mailbox)) {}
  std::shared_ptr<detail::Mailbox> mailbox_;
};

}  // namespace onloop
