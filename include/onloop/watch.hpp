#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// What is wanted of a descriptor, or what it is ready for: a set of directions.
enum class Interest : unsigned {
  none = 0,   ///< no direction
  read = 1,   ///< bytes or a client can be taken without blocking, or the peer has ended its side
  write = 2,  ///< bytes can be sent without blocking, or a connect has ended
  both = 3,   ///< read | write
  /// What poll(2) reports as POLLPRI: urgent data of a TCP connection, a changed file of sysfs, a packet of a
  /// pseudo-terminal's other side. A loop whose host has no such thing refuses it (EINVAL); that is libevent 2.1 under
  /// direct hosting.
  priority = 4,
};
/// @return The directions that are in at least one of the two sets.
[[nodiscard]] constexpr Interest operator|(Interest one, Interest other) noexcept {
  return static_cast<Interest>(static_cast<unsigned>(one) | static_cast<unsigned>(other));
}
/// @return The directions that are in both sets. Compare the result with Interest::none to test for a direction.
[[nodiscard]] constexpr Interest operator&(Interest one, Interest other) noexcept {
  return static_cast<Interest>(static_cast<unsigned>(one) & static_cast<unsigned>(other));
}

/// The watch of a descriptor (Context::watch). The descriptor is the application's.
///
/// Ownership: destroying the Watch ends the watch, and leaves the descriptor open. It may be destroyed in any callback,
/// its own included. After its context, it is inert.
///
/// Several watches of one context may have the same descriptor, in the same direction or in different ones. They are
/// called in the order in which they began. What an earlier one has read, a later one is called for in vain. While the
/// callback of one iterates the loop, none of them is called.
///
/// The application must end the watch before it closes the descriptor. If it does not, the watch is stale: nothing more
/// is promised of it than the following. When the context comes to know that the kernel has given the number to another
/// file, because it accepts, adopts or watches that, it ends the stale watch and reports that once, with the number, by
/// ContextOptions::on_error (EBADF). The new file is then served as any other.
///
/// Thread: the context's.
class [[nodiscard]] ONLOOP_API Watch {
 public:
  /// A handle without a watch. No call has an effect.
  Watch() noexcept = default;

  /// Replaces the interest. Without effect on a watch that has ended.
  /// @param interest Interest::none is silence, even on a hang-up.
  /// @throws std::system_error if the loop can't watch for that; the interest then stays as it was.
  void set_interest(Interest interest);
  /// The former name of set_interest().
  void set(Interest interest) { set_interest(interest); }
  /// Ends the watch.
  void cancel() noexcept;
  /// @return True until the watch was cancelled, was found stale, or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Watch(detail::HandleTo<detail::RawWatch> watch) noexcept : watch_(std::move(watch)) {}
  detail::HandleTo<detail::RawWatch> watch_;
};

}  // namespace onloop
