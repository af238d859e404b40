#pragma once
#include <sys/syscall.h>
#include <unistd.h>
#include <onloop/descriptor.hpp>

// pidfd_open(2) and pidfd_send_signal(2). They are called by number, because <sys/pidfd.h> exists only since glibc
// 2.36, and in that version a C++ program can't link the functions that it declares.
namespace onloop::detail {

/// Opens a descriptor of a process. It becomes readable when the process has ended. The result is empty, with errno
/// set, if it can't be opened.
[[nodiscard]] inline Descriptor open_pidfd(pid_t pid) noexcept {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

/// Sends a signal to the process. Returns 0, or -1 with errno set.
[[nodiscard]] inline int send_signal(int pidfd, int signal) noexcept {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

}  // namespace onloop::detail
