#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/unique_fd.hpp"

// By number: <sys/pidfd.h> came with glibc 2.36, where C++ can't link what it declares.
namespace onloop::detail {

/// Readable once that process has ended; empty with errno set if there can be none.
[[nodiscard]] inline UniqueFd open_pidfd(pid_t pid) noexcept {
  return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

/// 0, or -1 with errno set.
[[nodiscard]] inline int send_signal(int pidfd, int signal) noexcept {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

}  // namespace onloop::detail
