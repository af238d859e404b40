#pragma once
#include <cstdint>
#include <onloop/descriptor.hpp>

#include "core/loop/loop_attachment.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

/// The deadline of a context: the one moment at which it wants to be called next, for its earliest timer.
///
/// The loop's `deadline_set` slot keeps the deadline. A timerfd that the loop watches keeps it instead if the loop has
/// no such slot, if the application drives the loop through its descriptor, or under aggregate hosting.
///
/// The Runtime owns it. Thread: the context's.
class Deadline final : public Source {
 public:
  explicit Deadline(Runtime& runtime) noexcept : Source(runtime, Upcall::heard_at_once) {}

  /// Sets the deadline; ONLOOP_NO_DEADLINE sets none. Returns 0 or a negative errno. After an error the next call tries
  /// again.
  int set(LoopAttachment& loop, std::uint64_t at) noexcept { return at == set_ ? 0 : change(loop, at); }
  /// True if the deadline is set to the past, because work waits for a turn.
  [[nodiscard]] bool is_at_once() const noexcept { return set_ == 0; }
  /// Notes that the deadline has fired, or may have fired.
  void fired() noexcept;
  /// Makes a timerfd for a deadline. Throws std::system_error.
  [[nodiscard]] static Descriptor make_timerfd();
  /// Arms `timer` for the moment `at`; ONLOOP_NO_DEADLINE disarms it. Returns 0 or a negative errno.
  static int arm(const Descriptor& timer, std::uint64_t at) noexcept;
  /// Uses a timerfd from now on. Throws std::system_error.
  void use_timerfd();
  [[nodiscard]] const Descriptor& timer() const noexcept { return timer_; }
  [[nodiscard]] bool uses_timerfd() const noexcept { return static_cast<bool>(timer_); }
  /// Closes the timerfd, if there is one. set() makes another one if it needs one.
  void close() noexcept;
  /// Notes that the context has moved to another loop.
  ///
  /// @param at The moment to which the deadline is set there already.
  /// @param timer The timerfd that is used there, if it is not the one that was used before.
  void moved(std::uint64_t at, Descriptor timer = {}) noexcept;

 private:
  void sever() noexcept override;
  /// The timerfd has fired. The up-call is handled at once and not in the order of the ready sources, because a turn
  /// serves timers first.
  void on_ready(std::uint32_t) override;

  int change(LoopAttachment& loop, std::uint64_t at) noexcept;

  Descriptor timer_;                        // the timerfd, if one is used
  std::uint64_t set_ = ONLOOP_NO_DEADLINE;  // the moment that the loop or the timerfd knows
};

}  // namespace onloop::detail
