#pragma once

namespace onloop::detail {

/// Which thread this is: the address of something that each thread has of its own. Cheaper than pthread_self(), which
/// is a call; each write() compares it.
using ThreadId = const void*;

// The initial-exec model spares a shared library the call of __tls_get_addr.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local char thread_mark = 0;

inline ThreadId this_thread() noexcept {
  return &thread_mark;
}

}  // namespace onloop::detail
