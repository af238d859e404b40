#pragma once
#include <onloop/loop_ops.h>
#include <onloop/loop.hpp>

#include <cerrno>
#include <cstdint>
#include <string>

namespace onloop::detail {

/// Says why a shim's table can't be used. The string is empty if the table can be used.
[[nodiscard]] std::string refusal(const onloop_ops& ops);

/// One attachment of a context to a loop: it calls the slots of the loop's table (onloop_ops).
///
/// The constructor checks the table once and copies it. A slot that the table does not have is null in the copy.
/// Attachments owns it, or a SetAttachment. Thread: the context's.
class LoopAttachment {
 public:
  /// Attaches to the loop. Throws std::system_error that says why the loop can't be attached to.
  LoopAttachment(const Loop& loop, const onloop_guest& guest);
  LoopAttachment(const LoopAttachment&) = delete;
  LoopAttachment& operator=(const LoopAttachment&) = delete;
  ~LoopAttachment() { detach(); }

  [[nodiscard]] const Loop& loop() const noexcept { return loop_; }
  /// True if the shim has made the loop for the context. False if the loop is the application's.
  [[nodiscard]] bool owned() const noexcept { return loop_.foreign() == nullptr; }

  // These functions call the slot of the same name. They return 0 or a negative errno.
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
  /// Sets the deadline. Returns -ENOSYS if the loop has no deadlines.
  int deadline_set(std::uint64_t at) noexcept;
  void keepalive(bool on) noexcept;
  /// Changes the priority of the existing attachment. Throws std::system_error if the loop can't do this.
  void set_priority(int priority);

  [[nodiscard]] bool can_turn() const noexcept { return ops_.turn != nullptr; }
  [[nodiscard]] bool can_run() const noexcept { return ops_.run != nullptr && ops_.stop != nullptr; }
  int turn(std::int64_t max_wait_ns) noexcept { return ops_.turn(attached_, max_wait_ns); }
  int run() noexcept { return ops_.run(attached_); }
  void stop() noexcept { ops_.stop(attached_); }
  /// The descriptor of the loop. Returns -ENOSYS if the loop has none.
  int fd() noexcept { return ops_.fd ? ops_.fd(attached_) : -ENOSYS; }

  /// Gives up a loop that belongs to the parent process. A forked child must call it before it removes the watches.
  void abandon() noexcept;
  /// Detaches from the loop. It does nothing if the attachment is detached already.
  void detach() noexcept;

 private:
  /// True if the shim knows all of these directions. A shim of version 1.0 would ignore ONLOOP_PRIORITY.
  [[nodiscard]] bool knows(std::uint32_t interest) const noexcept {
    return !(interest & ONLOOP_PRIORITY) || (ops_.version & 0xffffu) >= 1;
  }

  Loop loop_;
  onloop_ops ops_{};
  onloop_loop* attached_ = nullptr;
  bool abandoned_ = false;
  bool leaked_ = false;  // abandoned, and the shim has no `abandon` slot: its objects are left alone for good
};

}  // namespace onloop::detail
