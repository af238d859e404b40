#pragma once
#include <atomic>
#include <memory>

namespace onloop::detail {

class Mailbox;

/// One watch of a signal in the process. SignalEntry owns it.
///
/// While it lives, the signal is noted in the mailbox, and the handler that was installed before is called as before.
/// The default action of the signal does not happen.
///
/// All watches are in one table, which is a global variable of this library, because signal handlers belong to the
/// whole process. The table is empty until the first watch. After the last watch the process has its former handlers
/// again.
///
/// Thread: any.
class SignalSubscription {
 public:
  /// Begins the watch. Throws std::system_error, with EINVAL if the number is no signal or a signal that can't be
  /// watched.
  SignalSubscription(int number, std::shared_ptr<Mailbox> mailbox);
  SignalSubscription(const SignalSubscription&) = delete;
  SignalSubscription& operator=(const SignalSubscription&) = delete;
  ~SignalSubscription();

  /// Installs our handlers again where other code has changed the handler of a watched signal. If nothing has changed,
  /// this costs one system call for each signal. Thread: any.
  static void look_after_all() noexcept;

 private:
  friend struct SignalTable;
  const int number_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::atomic<SignalSubscription*> next_{nullptr};  // the next watch of the same signal
};

}  // namespace onloop::detail
