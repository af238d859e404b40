#pragma once
#include <onloop/loop_ops.h>

#include <algorithm>
#include <cstring>

namespace onloop {

/// @return A copy of `guest`. The structure of the caller may be shorter than ours. Members that it does not have are
/// null in the copy.
inline onloop_guest copy_of(const onloop_guest& guest) noexcept {
  onloop_guest copy{};
  std::memcpy(&copy, &guest, std::min<std::size_t>(guest.struct_size, sizeof copy));
  return copy;
}

}  // namespace onloop
