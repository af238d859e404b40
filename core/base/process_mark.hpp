#pragma once
#include <cstdint>

namespace onloop::detail {

/// A number that tells a process from its parent and from its forked children. A pid can't do this: a child in a PID
/// namespace of its own may have the pid of its parent.
using ProcessMark = std::uint32_t;

/// The mark of this process. It is never 0. Each forked child has another mark, whether it was made by fork(), _Fork()
/// or clone(2). A child that shares the memory of its parent (vfork) has the mark of its parent.
///
/// Thread: any. A signal handler may call it after it was called once outside of a signal handler.
[[nodiscard]] ProcessMark this_process() noexcept;

}  // namespace onloop::detail
