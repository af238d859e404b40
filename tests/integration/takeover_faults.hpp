#pragma once
#include <chrono>
#include <vector>

namespace onloop::test {

/// What one system call does in place of what it should.
struct Fault {
  enum class Call { send, receive, shutdown };
  static constexpr int kNone = 0;    ///< the call is made
  static constexpr int kShort = -1;  ///< sends one byte
  static constexpr int kEnd = -2;    ///< receives an end that is none

  Call call = Call::send;
  int first = 1;            ///< which of those calls is the first, from 1
  std::vector<int> errors;  ///< what that one and those after it do: an errno, or one of the above
  bool for_ever = false;    ///< the last of them stays
};

/// From now on sendmsg(), recvmsg() or shutdown() fail so for the socket at `fd`, or for each if it is -1.
void inject(int fd, Fault fault);
/// How many of those calls there were since.
[[nodiscard]] int calls_since_injection();
void inject_nothing();

/// The monotonic clock of this process goes forward by so much at once, for the library and for the test alike. Waits
/// of many seconds then take none.
void move_clock_on(std::chrono::nanoseconds by);
/// The clock is the kernel's again. No context may be left whose timers were set by the other one.
void give_clock_back();

}  // namespace onloop::test
