#pragma once
#include <onloop/loop_ops.h>
#include <onloop/loop.hpp>

#include <cerrno>
#include <cstdint>
#include <string>

namespace onloop::detail {

/// Why a shim's table can't be used; empty if it can.
[[nodiscard]] std::string refusal(const onloop_ops& ops);

/// The loop that a context is attached to, through its ops. Checks the table once; absent slots are null here.
class LoopAttachment {
 public:
  /// Attaches. Throws std::system_error that says why not.
  LoopAttachment(const Loop& loop, const onloop_guest& guest);
  LoopAttachment(const LoopAttachment&) = delete;
  LoopAttachment& operator=(const LoopAttachment&) = delete;
  ~LoopAttachment() { detach(); }

  [[nodiscard]] const Loop& loop() const noexcept { return loop_; }
  [[nodiscard]] bool owned() const noexcept { return loop_.foreign() == nullptr; }

  int watch_add(int fd, std::uint32_t interest, void* context, onloop_watch** watch) noexcept {
    if (!knows(interest)) return -EINVAL;
    return ops_.watch_add(attached_, fd, interest, context, watch);
  }
  int watch_set(onloop_watch* watch, std::uint32_t interest) noexcept {
    if (!knows(interest)) return -EINVAL;
    return ops_.watch_set(attached_, watch, interest);
  }
  void watch_remove(onloop_watch* watch) noexcept {
    if (!leaked_) ops_.watch_remove(attached_, watch);
  }
  /// -ENOSYS where the loop has no deadlines.
  int deadline_set(std::uint64_t at) noexcept;
  void keepalive(bool on) noexcept;
  /// For an attachment that stands. Throws std::system_error.
  void set_priority(int priority);

  [[nodiscard]] bool can_turn() const noexcept { return ops_.turn != nullptr; }
  [[nodiscard]] bool can_run() const noexcept { return ops_.run != nullptr && ops_.stop != nullptr; }
  int turn(std::int64_t max_wait_ns) noexcept { return ops_.turn(attached_, max_wait_ns); }
  int run() noexcept { return ops_.run(attached_); }
  void stop() noexcept { ops_.stop(attached_); }
  /// -ENOSYS where the loop has none.
  int fd() noexcept { return ops_.fd ? ops_.fd(attached_) : -ENOSYS; }

  /// In a forked child, before the watches are removed.
  void abandon() noexcept;
  void detach() noexcept;

 private:
  /// A shim of version 1.0 would take ONLOOP_PRIORITY for nothing.
  [[nodiscard]] bool knows(std::uint32_t interest) const noexcept {
    return !(interest & ONLOOP_PRIORITY) || (ops_.version & 0xffffu) >= 1;
  }

  Loop loop_;
  onloop_ops ops_{};
  onloop_loop* attached_ = nullptr;
  bool abandoned_ = false;
  bool leaked_ = false;  // abandoned, by a shim that has no slot for it
};

}  // namespace onloop::detail
