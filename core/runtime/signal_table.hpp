#pragma once
#include <atomic>
#include <memory>

namespace onloop::detail {

class Mailbox;

/// One watch of a signal in the table of the process: a global of this library, since the kernel's is one, too.
/// It is empty until the first watch, and the process's handlers are as before after the last.
///
/// While it lives, the signal is noted in a mailbox, and the handler that was there before is called as before; but
/// what the signal would do by default, it does not.
class SignalSubscription {
 public:
  /// Throws std::system_error: EINVAL for a number that is no signal or none that can be watched.
  SignalSubscription(int number, std::shared_ptr<Mailbox> mailbox);
  SignalSubscription(const SignalSubscription&) = delete;
  SignalSubscription& operator=(const SignalSubscription&) = delete;
  ~SignalSubscription();

  /// Sets right what others have done to the handlers of all watched signals since: one system call for each, if that
  /// is nothing. Any thread.
  static void look_after_all() noexcept;

 private:
  friend struct SignalTable;
  const int number_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::atomic<SignalSubscription*> next_{nullptr};
};

}  // namespace onloop::detail
