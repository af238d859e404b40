#pragma once
#include <signal.h>

namespace onloop::detail {

/// Blocks signals in this thread while it lives. A thread that is started meanwhile inherits the blocked signals, and a
/// forked child, too.
class SignalsBlocked {
 public:
  enum class Faults : bool { blocked, open };

  /// @param faults Whether the signals of a thread's own faults, such as SIGSEGV, are blocked as well.
  explicit SignalsBlocked(Faults faults) noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    if (faults == Faults::open) {
      for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace onloop::detail
