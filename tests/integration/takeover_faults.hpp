#pragma once
#include <chrono>
#include <vector>

namespace onloop::test {

/// What a system call does instead of its normal work.
struct Fault {
  enum class Call { send, receive, shutdown };
  static constexpr int kNone = 0;    ///< no fault: the call is made
  static constexpr int kShort = -1;  ///< a send sends only one byte
  static constexpr int kEnd = -2;    ///< a receive reports the end of the stream, although there is none

  Call call = Call::send;
  int first = 1;            ///< the number of the first call with a fault, from 1
  std::vector<int> errors;  ///< for this call and the next ones: an errno, or a constant above
  bool for_ever = false;    ///< the last one of `errors` stays for all later calls
};

/// From now on, sendmsg(), recvmsg() or shutdown() have this fault for the socket at `fd`. If `fd` is -1, they have it
/// for every socket.
void inject(int fd, Fault fault);
/// The number of these calls since inject().
[[nodiscard]] int calls_since_injection();
void inject_nothing();

/// The monotonic clock of this process goes forward by so much at once, for the library and for the test alike. Waits
/// of many seconds then take none.
void move_clock_on(std::chrono::nanoseconds by);
/// The clock is the kernel's again. No context may be left whose timers were set by the other one.
void give_clock_back();

}  // namespace onloop::test
