#pragma once
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

namespace onloop {

/// Finds out whether the process can open the descriptors that a host opens at once. Some hosts end the process if they
/// can't get a descriptor, so their shims call this first. It opens an epoll set and the given numbers of pipes and
/// eventfds, and then closes all of them. It uses the same system calls as the host, since a limit or a filter may
/// refuse only one kind.
///
/// @return 0, or the negative errno of the call that was refused.
inline int try_descriptors(int pipes, int events) {
  std::array<int, 16> opened{};
  std::size_t count = 0;
  const auto take = [&](int fd) {
    if (fd < 0) return false;
    opened.at(count++) = fd;
    return true;
  };
  bool can = take(epoll_create1(EPOLL_CLOEXEC));
  for (; can && pipes > 0; --pipes) {
    int ends[2];
    can = pipe2(ends, O_CLOEXEC) == 0 && take(ends[0]) && take(ends[1]);
  }
  for (; can && events > 0; --events) can = take(eventfd(0, EFD_CLOEXEC));
  const int error = can ? 0 : -errno;
  while (count > 0) close(opened.at(--count));
  return error;
}

}  // namespace onloop
