#pragma once
#include <cstdint>

namespace onloop::detail {

/// The kinds of work that a context has to do besides the sources that are ready. They are flags in one byte, so that a
/// turn without such work looks at a single byte. The Turn owns it. Thread: the context's.
class Due {
 public:
  enum Flag : std::uint8_t {
    kTimers = 1,     // The deadline has passed.
    kDeferred = 2,   // A source has deferred a call.
    kPosted = 4,     // ContextOptions::on_wake, a signal or a task is to be called.
    kMoved = 8,      // The context has moved to a loop that has not had a turn yet.
    kDeadline = 16,  // The next deadline may have changed. The loop has to be told.
    kLeave = 32,     // run() is to return: after stop(), without keepalive, or because the context ends.
    kSwitched = 64,  // The loop that run() runs has changed, or must be run again. run() looks at it anew.
  };

  void set(int flags) noexcept { flags_ = static_cast<std::uint8_t>(flags_ | flags); }
  void clear(int flags) noexcept { flags_ = static_cast<std::uint8_t>(flags_ & ~flags); }
  /// True if at least one of `flags` is set.
  [[nodiscard]] bool any(int flags) const noexcept { return (flags_ & flags) != 0; }
  [[nodiscard]] bool none() const noexcept { return flags_ == 0; }

 private:
  std::uint8_t flags_ = 0;
};

}  // namespace onloop::detail
