#include "core/runtime/host.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/runtime/error.hpp"

namespace onloop::detail {

Host::Host(const Loop& loop, const onloop_guest& guest) : loop_(loop) {
  const onloop_ops& given = loop.ops();
  const std::string name = given.name ? given.name : "(unnamed)";
  const std::string what = "attach to the loop \"" + name + "\": ";
  if (given.version >> 16 != ONLOOP_OPS_MAJOR) {
    throw_error(EPROTO, what + "its shim has version " + std::to_string(given.version >> 16) +
                            " of the ops contract, this library has " + std::to_string(ONLOOP_OPS_MAJOR));
  }
  if (given.struct_size < offsetof(onloop_ops, deadline_set)) {
    throw_error(EPROTO, what + "its shim's table is too short for the required slots");
  }
  std::memcpy(&ops_, &given, std::min<std::size_t>(given.struct_size, sizeof ops_));
  if (!ops_.name || !ops_.attach || !ops_.detach || !ops_.watch_add || !ops_.watch_set || !ops_.watch_remove) {
    throw_error(EPROTO, what + "its shim lacks a required slot or a name");
  }
  if (const int error = ops_.attach(&guest, loop.foreign(), &attached_); error < 0) {
    attached_ = nullptr;
    throw_error(error, "attach to the loop \"" + name + "\"");
  }
}

int Host::deadline_set(std::uint64_t at) noexcept {
  if (!ops_.deadline_set) return -ENOSYS;
  const int result = ops_.deadline_set(attached_, at);
  if (result == -ENOSYS) ops_.deadline_set = nullptr;
  return result;
}

void Host::keepalive(bool on) noexcept {
  if (ops_.keepalive) ops_.keepalive(attached_, on ? 1 : 0);
}

void Host::abandon() noexcept {
  if (std::exchange(abandoned_, true)) return;
  if (ops_.abandon) {
    ops_.abandon(attached_);
  } else {
    leaked_ = true;
  }
}

void Host::detach() noexcept {
  if (onloop_loop* attached = std::exchange(attached_, nullptr); attached && !leaked_) ops_.detach(attached);
}

}  // namespace onloop::detail
