#include "core/loop/loop_attachment.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/error.hpp"

namespace onloop::detail {

std::string refusal(const onloop_ops& ops) {
  if (ops.version >> 16 != ONLOOP_OPS_MAJOR) {
    return "its shim has version " + std::to_string(ops.version >> 16) +
           " of the loop contract, this library needs version " + std::to_string(ONLOOP_OPS_MAJOR);
  }
  if (ops.struct_size < offsetof(onloop_ops, deadline_set))
    return "the table of its shim is too short for the required slots";
  if (!ops.name || !ops.attach || !ops.detach || !ops.watch_add || !ops.watch_set || !ops.watch_remove) {
    return "its shim lacks a required slot or a name";
  }
  return {};
}

LoopAttachment::LoopAttachment(const Loop& loop, const onloop_guest& guest) : loop_(loop) {
  const onloop_ops& given = loop.ops();
  if (const std::string reason = refusal(given); !reason.empty()) throw_error(EPROTO, "attach to a loop: " + reason);
  std::memcpy(&ops_, &given, std::min<std::size_t>(given.struct_size, sizeof ops_));
  const std::string what = "attach to the loop \"" + std::string(ops_.name) + "\"";
  if (const int error = ops_.attach(&guest, loop.foreign(), &attached_); error < 0) {
    attached_ = nullptr;
    throw_error(error, what);
  }
  if (!loop.priority()) return;
  try {
    set_priority(*loop.priority());
  } catch (...) {
    detach();
    throw;
  }
}

void LoopAttachment::set_priority(int priority) {
  const int error = ops_.priority_set ? ops_.priority_set(attached_, priority) : -ENOSYS;
  if (error < 0) {
    throw_error(error == -ENOSYS ? ENOTSUP : error,
                "attach to the loop \"" + std::string(ops_.name) + "\" with priority " + std::to_string(priority));
  }
  loop_ = loop_.priority(priority);
}

int LoopAttachment::deadline_set(std::uint64_t at) noexcept {
  if (!ops_.deadline_set) return -ENOSYS;
  const int result = ops_.deadline_set(attached_, at);
  if (result == -ENOSYS) ops_.deadline_set = nullptr;
  return result;
}

void LoopAttachment::keepalive(bool on) noexcept {
  if (ops_.keepalive) ops_.keepalive(attached_, on ? 1 : 0);
}

void LoopAttachment::abandon() noexcept {
  if (std::exchange(abandoned_, true)) return;
  if (ops_.abandon) {
    ops_.abandon(attached_);
  } else {
    leaked_ = true;  // a removal or a detach could reach the parent's loop, so neither is called any more
  }
}

void LoopAttachment::detach() noexcept {
  if (onloop_loop* attached = std::exchange(attached_, nullptr); attached && !leaked_) ops_.detach(attached);
}

}  // namespace onloop::detail
