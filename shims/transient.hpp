#pragma once
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace onloop {

/// Whether a wait has failed for a moment only, for want of kernel memory: that must not end a service.
inline bool is_transient(int error) noexcept {
  return error == ENOMEM || error == EAGAIN || error == ENOBUFS;
}

/// After such a failure, so that asking again does not keep the processor busy. A turn that must not wait, since an
/// application does, rests for a millisecond only.
inline void rest_a_moment(std::int64_t max_wait_ns) noexcept {
  const timespec moment{.tv_sec = 0, .tv_nsec = max_wait_ns == 0 ? 1'000'000 : 10'000'000};
  (void)nanosleep(&moment, nullptr);
}

}  // namespace onloop
