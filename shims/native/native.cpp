#include "shims/native/native.hpp"

#include <onloop/loop.hpp>

namespace onloop {

Loop native() noexcept {
  return Loop{native_loop::epoll_ops()};
}
Loop native_poll() noexcept {
  return Loop{native_loop::poll_ops()};
}

}  // namespace onloop
