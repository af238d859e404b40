#include "core/runtime/thread_binding.hpp"

#include <cerrno>

#include "core/base/error.hpp"

namespace onloop::detail {

/// Throws if the context is bound to a thread. check() has found out that this is not the calling thread.
void ThreadBinding::refuse_other_thread(ThreadId owner) {
  if (owner) throw_error(EPERM, kWrongThread);
}

void ThreadBinding::die_of_other_thread() noexcept {
  die("a loop calls its context from another thread than before; release_thread() first");
}

}  // namespace onloop::detail
