#pragma once
#include <onloop/loop_ops.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

#include "shims/clock.hpp"

namespace onloop::native_loop {

/// One wait of a turn. It ends at a fixed moment, so a retry after EINTR waits only for the time that is left.
class Wait {
 public:
  Wait(std::int64_t max_wait_ns, std::uint64_t deadline) : end_(deadline) {
    if (max_wait_ns == 0) {
      end_ = 0;
    } else if (max_wait_ns > 0) {
      end_ = std::min(deadline, now_ns() + static_cast<std::uint64_t>(max_wait_ns));
    }
  }
  /// @return The time that is left, in the form that ppoll and epoll_pwait2 take. Null means no limit.
  const timespec* remaining() {
    if (end_ == ONLOOP_NO_DEADLINE) return nullptr;
    const std::uint64_t now = end_ == 0 ? 0 : now_ns();
    const std::uint64_t left = end_ > now ? end_ - now : 0;
    left_ = {static_cast<time_t>(left / 1'000'000'000u), static_cast<long>(left % 1'000'000'000u)};
    return &left_;
  }

 private:
  std::uint64_t end_;
  timespec left_{};
};

}  // namespace onloop::native_loop
