#pragma once
#include <event2/event.h>
#include <onloop/loop_ops.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "shims/clock.hpp"
#include "shims/descriptors.hpp"

/// Conversions between libevent and the contract that need no guest.
namespace onloop::libevent_base {

struct Free {
  void operator()(event* made) const { event_free(made); }
  void operator()(event_config* made) const { event_config_free(made); }
  void operator()(event_base* made) const { event_base_free(made); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

inline short events_of(std::uint32_t interest) {
  return static_cast<short>(((interest & ONLOOP_READ) ? EV_READ : 0) | ((interest & ONLOOP_WRITE) ? EV_WRITE : 0));
}

/// libevent reports an error or a hang-up as both directions.
inline std::uint32_t readiness_of(short events) {
  return ((events & EV_READ) ? ONLOOP_READ : 0u) | ((events & EV_WRITE) ? ONLOOP_WRITE : 0u);
}

/// @return The error of a failed call of libevent. The caller must clear errno before the call. libevent fails without
/// an errno if there is no memory.
inline int failure() {
  return errno ? -errno : -ENOMEM;
}

/// @return The time until `at`, rounded up, but at most one day. After a day the shim looks at the deadline again. So
/// no back end of libevent gets a longer time.
inline timeval time_until(std::uint64_t at) {
  constexpr std::uint64_t kDay = 86'400'000'000;
  const std::uint64_t time = now_ns();
  const std::uint64_t wait = at <= time ? 0 : std::min((at - time - 1) / 1000u + 1, kDay);
  return {.tv_sec = static_cast<time_t>(wait / 1'000'000u), .tv_usec = static_cast<suseconds_t>(wait % 1'000'000u)};
}

/// Makes a base for one thread. It ignores the environment variables of libevent, so that it has no changelist.
inline int new_base(Owned<event_base>& base) {
  constexpr int kForSignals = 1;
  if (const int error = try_descriptors(kForSignals, 0); error < 0) return error;
  const Owned<event_config> config{event_config_new()};
  if (!config) return -ENOMEM;
  event_config_set_flag(config.get(), EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
  errno = 0;
  base.reset(event_base_new_with_config(config.get()));
  return base ? 0 : failure();
}

}  // namespace onloop::libevent_base
