#include "takeover_faults.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace onloop::test {
namespace {

bool active = false;
Fault fault;
bool each_socket = false;
ino_t socket_number = 0;  // identifies the socket, because its descriptor number may be reused
int calls = 0;
std::atomic<std::int64_t> ahead{0};  // of the kernel's monotonic clock, in nanoseconds

ino_t number_of(int fd) {
  struct stat found {};
  return ::fstat(fd, &found) == 0 ? found.st_ino : 0;
}

int fault_of(Fault::Call call, int fd) {
  if (!active || call != fault.call || !(each_socket || number_of(fd) == socket_number)) return Fault::kNone;
  const int since = ++calls - fault.first;
  const auto count = static_cast<int>(fault.errors.size());
  if (since < 0 || (since >= count && !fault.for_ever)) return Fault::kNone;
  return fault.errors[static_cast<std::size_t>(std::min(since, count - 1))];
}

}  // namespace

void inject(int fd, Fault what) {
  fault = std::move(what);
  each_socket = fd < 0;
  socket_number = number_of(fd);
  calls = 0;
  active = true;
}

int calls_since_injection() {
  return calls;
}

void inject_nothing() {
  active = false;
}

void move_clock_on(std::chrono::nanoseconds by) {
  ahead += by.count();
}

void give_clock_back() {
  ahead = 0;
}

}  // namespace onloop::test

using onloop::test::ahead;
using onloop::test::Fault;
using onloop::test::fault_of;

// Replaces the function of libc, also for the library that is linked into this program.
extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  const int fault = fault_of(Fault::Call::send, fd);
  if (fault == Fault::kShort) {
    msghdr shorter = *message;
    iovec first{message->msg_iov[0].iov_base, std::min<std::size_t>(message->msg_iov[0].iov_len, 1)};
    shorter.msg_iov = &first;
    shorter.msg_iovlen = 1;
    return ::syscall(SYS_sendmsg, fd, &shorter, flags);
  }
  if (fault <= 0) return ::syscall(SYS_sendmsg, fd, message, flags);
  errno = fault;
  return -1;
}

extern "C" ssize_t recvmsg(int fd, msghdr* message, int flags) {
  const int fault = fault_of(Fault::Call::receive, fd);
  if (fault == Fault::kEnd) {
    message->msg_controllen = 0;
    message->msg_flags = 0;
    return 0;
  }
  if (fault <= 0) return ::syscall(SYS_recvmsg, fd, message, flags);
  errno = fault;
  return -1;
}

extern "C" int shutdown(int fd, int how) noexcept {
  const int fault = fault_of(Fault::Call::shutdown, fd);
  if (fault <= 0) return static_cast<int>(::syscall(SYS_shutdown, fd, how));
  errno = fault;
  return -1;
}

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::int64_t ns_of(const timespec& time) {
  return std::int64_t{time.tv_sec} * kSecond + time.tv_nsec;
}

timespec timespec_of(std::int64_t ns) {
  return {.tv_sec = static_cast<time_t>(ns / kSecond), .tv_nsec = static_cast<long>(ns % kSecond)};
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_clock_gettime, clock, now));
  if (result == 0 && ahead != 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE)) {
    *now = timespec_of(ns_of(*now) + ahead);
  }
  return result;
}

// A moment on the clock that was moved comes so much earlier on the kernel's.
extern "C" int timerfd_settime(int fd, int flags, const itimerspec* time, itimerspec* old) noexcept {
  itimerspec kernels = *time;
  if (flags & TFD_TIMER_ABSTIME && ns_of(time->it_value) != 0) {
    kernels.it_value = timespec_of(std::max<std::int64_t>(ns_of(time->it_value) - ahead, 1));
  }
  return static_cast<int>(::syscall(SYS_timerfd_settime, fd, flags, &kernels, old));
}
