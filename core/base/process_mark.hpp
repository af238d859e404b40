#pragma once
#include <cstdint>

namespace onloop::detail {

/// Which process this is, among those that have come of one another by fork. A pid does not tell: a child in a PID
/// namespace of its own may have the pid of its parent.
using ProcessMark = std::uint32_t;

/// The mark of this process: never 0, and another in each forked child, whether it was forked by fork(), by _Fork() or
/// by clone(2). A child that shares the memory of its parent (vfork) has its parent's. Any thread; in signal handlers,
/// too, once it was called outside of one.
[[nodiscard]] ProcessMark this_process() noexcept;

}  // namespace onloop::detail
