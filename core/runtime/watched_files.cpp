#include "core/runtime/watched_files.hpp"

#include <sys/epoll.h>

#include <cerrno>

namespace onloop::detail {

bool WatchedFiles::note(int fd) noexcept {
  if (lost_) return false;
  if (!set_) set_.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event none{};
  return set_ && (epoll_ctl(set_.get(), EPOLL_CTL_ADD, fd, &none) == 0 || errno == EEXIST);
}

bool WatchedFiles::has(int fd) noexcept {
  if (!usable()) return true;
  epoll_event none{};
  return epoll_ctl(set_.get(), EPOLL_CTL_MOD, fd, &none) == 0 || errno != ENOENT;
}

void WatchedFiles::forget(int fd) noexcept {
  if (usable()) epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr);  // fails for a closed file: the kernel removed it
}

}  // namespace onloop::detail
