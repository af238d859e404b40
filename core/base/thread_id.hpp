#pragma once

namespace onloop::detail {

/// Identifies a thread by the address of a thread-local variable. Each write() compares it, so it must be cheap. It is
/// cheaper than pthread_self(), which is a function call.
using ThreadId = const void*;

// With the initial-exec model, a shared library reads the address without a call of __tls_get_addr.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local char thread_mark = 0;

/// The id of the calling thread.
inline ThreadId this_thread() noexcept {
  return &thread_mark;
}

}  // namespace onloop::detail
