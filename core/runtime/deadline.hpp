#pragma once
#include <cstdint>

#include "core/base/unique_fd.hpp"
#include "core/loop/loop_attachment.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

/// The one moment at which the context wants to be called: by the loop's own slot or, where that is absent or the loop
/// is driven through its descriptor, by a timerfd in the loop.
class Deadline final : public Source {
 public:
  explicit Deadline(Runtime& runtime) noexcept : Source(runtime, Upcall::heard_at_once) {}

  /// Sets it; ONLOOP_NO_DEADLINE for none. Returns 0 or a negative errno, and then tries again when next called.
  int set(LoopAttachment& loop, std::uint64_t at) noexcept { return at == set_ ? 0 : change(loop, at); }
  /// It is set to the past, for work that waits for a turn.
  [[nodiscard]] bool is_at_once() const noexcept { return set_ == 0; }
  /// It has fired, or may have.
  void fired() noexcept;
  /// A timerfd as it is used here. Throws std::system_error.
  [[nodiscard]] static UniqueFd make_timerfd();
  /// Arms `timer` for a moment, ONLOOP_NO_DEADLINE for none. Returns 0 or a negative errno.
  static int arm(const UniqueFd& timer, std::uint64_t at) noexcept;
  /// From now on by timerfd. Throws std::system_error.
  void use_timerfd();
  [[nodiscard]] const UniqueFd& timer() const noexcept { return timer_; }
  [[nodiscard]] bool uses_timerfd() const noexcept { return static_cast<bool>(timer_); }
  /// Disarms and closes the timerfd, if there is one. When it is needed again, it is made again.
  void close() noexcept;
  /// On another loop, where it is set to `at` already. timer: the timerfd that is used there, if another than before.
  void moved(std::uint64_t at, UniqueFd timer = {}) noexcept;

 private:
  void sever() noexcept override;
  /// The timerfd has fired. It is heard at once, not in its place among the ready sources, because timers come first.
  void on_ready(std::uint32_t) override;

  int change(LoopAttachment& loop, std::uint64_t at) noexcept;

  UniqueFd timer_;
  std::uint64_t set_ = ONLOOP_NO_DEADLINE;
};

}  // namespace onloop::detail
