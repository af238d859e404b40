#include "conformance/counted_loop.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace onloop::conformance {
namespace {

CountedLoop* current = nullptr;  // a slot is a plain function, so it finds its object here
onloop_ops behind{};             // the slots of the other loop
onloop_ops table{};

}  // namespace

struct CountedLoop::Slots {
  /// @return The error that this call must return, or 0.
  static int fallible() {
    ++current->calls;
    if (current->until_failure_ < 0 || current->until_failure_-- > 0) return 0;
    ++current->failures;
    return -ENOMEM;
  }

  static int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
    if (const int error = fallible()) return error;
    const int result = behind.attach(guest, foreign, loop);
    if (result >= 0) ++current->attached;
    return result;
  }
  static void detach(onloop_loop* loop) {
    ++current->calls;
    --current->attached;
    behind.detach(loop);
  }
  static int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* context, onloop_watch** watch) {
    ++current->adds;
    if (const int error = fallible()) return error;
    const int result = behind.watch_add(loop, fd, interest, context, watch);
    if (result >= 0) ++current->watches;
    return result;
  }
  static int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
    ++current->calls;
    return behind.watch_set(loop, watch, interest);
  }
  static void watch_remove(onloop_loop* loop, onloop_watch* watch) {
    ++current->calls;
    --current->watches;
    behind.watch_remove(loop, watch);
  }
  static int deadline_set(onloop_loop* loop, std::uint64_t at) {
    if (at == ONLOOP_NO_DEADLINE) {
      ++current->calls;
    } else if (const int error = fallible()) {
      return error;
    }
    return behind.deadline_set(loop, at);
  }
  static int keepalive(onloop_loop* loop, int on) {
    ++current->calls;
    return behind.keepalive(loop, on);
  }
};

CountedLoop::CountedLoop(const Loop& loop) : behind_(loop) {
  if (current) throw std::logic_error("only one loop at a time is counted");
  current = this;
  behind = {};
  std::memcpy(&behind, &loop.ops(), std::min<std::size_t>(loop.ops().struct_size, sizeof behind));
  table = behind;
  table.struct_size = sizeof table;
  table.attach = Slots::attach;
  table.detach = Slots::detach;
  table.watch_add = Slots::watch_add;
  table.watch_set = Slots::watch_set;
  table.watch_remove = Slots::watch_remove;
  if (behind.deadline_set) table.deadline_set = Slots::deadline_set;
  if (behind.keepalive) table.keepalive = Slots::keepalive;
}

CountedLoop::~CountedLoop() {
  current = nullptr;
}

Loop CountedLoop::loop() const {
  const Loop counted{table, behind_.foreign()};
  return behind_.hosting() == Hosting::aggregate ? counted.aggregate() : counted.direct();
}

void CountedLoop::fail_at(int call) {
  until_failure_ = call;
}

}  // namespace onloop::conformance
