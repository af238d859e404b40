#pragma once
#include <onloop/loop_ops.h>

#include <algorithm>
#include <cstring>

namespace onloop {

/// A copy of the guest, whose structure may be shorter than ours: members that it has not are null.
inline onloop_guest copy_of(const onloop_guest& guest) noexcept {
  onloop_guest copy{};
  std::memcpy(&copy, &guest, std::min<std::size_t>(guest.struct_size, sizeof copy));
  return copy;
}

}  // namespace onloop
