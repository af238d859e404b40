#pragma once
#include <onloop/loop_ops.h>

namespace onloop::native_loop {

const onloop_ops& epoll_ops() noexcept;
const onloop_ops& poll_ops() noexcept;

}  // namespace onloop::native_loop
