#pragma once
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace onloop {

/// @return True if a wait has failed only for a moment, for lack of kernel memory. Such a failure must not end a
/// service.
inline bool is_transient(int error) noexcept {
  return error == ENOMEM || error == EAGAIN || error == ENOBUFS;
}

/// Sleeps for a moment after such a failure, so that asking again does not keep the processor busy. The moment is 10
/// ms. It is 1 ms for a turn that must not wait, since an application waits for the end of that turn.
inline void rest_a_moment(std::int64_t max_wait_ns) noexcept {
  const timespec moment{.tv_sec = 0, .tv_nsec = max_wait_ns == 0 ? 1'000'000 : 10'000'000};
  (void)nanosleep(&moment, nullptr);
}

}  // namespace onloop
