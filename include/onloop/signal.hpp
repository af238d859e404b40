#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// Owns the watch of a signal (Context::on_signal). Destroying the Signal ends the watch. After its context has gone,
/// the Signal has no effect.
///
/// Thread: the context's. The Signal may be cancelled, replaced or destroyed in any callback, also in its own.
///
/// If no other code in the process handles the same signal, nothing of the following needs your attention.
///
/// A process has one handler for each signal. A loop that the application runs may have its own handler; GLib, libuv
/// and libevent do. The following rules hold for everybody who installs a handler by sigaction(2):
///
/// - The handler that was installed before the watch is still called. When the last watch of the process ends, that
///   handler is installed again.
/// - A handler that is installed later takes the signal at first, unless it calls its predecessor. The context notices
///   that handler at its next look. From then on both that handler and the watches get the signal. A context looks when
///   a watch begins, when run() begins, when a timer is due, and when a Remote, a worker or a signal wakes it.
/// - Some code installs the default action when it ends its own handler; GLib and libuv do. This takes the signal from
///   the watches, too. The context installs its handler again at its next look. To have the default action while the
///   context runs, end the watch.
/// - A handler that was installed after the beginning of a watch may go on calling its predecessor after that watch has
///   ended. Then nothing happens: the handler that was called first decides about the default action.
/// - When there is no watch, and the kernel calls the handler of onloop because other code has installed it again, this
///   handler uninstalls itself. Then the signal has the effect that it has without onloop.
/// - A signal that every thread blocks reaches no handler. sd-event takes its signals in this way, by a signalfd.
///
/// Several copies of onloop in one process follow the same rules among each other.
class [[nodiscard]] ONLOOP_API Signal {
 public:
  /// A handle without a watch. No call has an effect.
  Signal() noexcept = default;

  /// Ends the watch. Its callback is not called again, also not for a signal that has arrived already.
  void cancel() noexcept;
  /// @return True until the watch was cancelled or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Signal(detail::HandleTo<detail::SignalEntry> entry) noexcept : entry_(std::move(entry)) {}
  detail::HandleTo<detail::SignalEntry> entry_;
};

}  // namespace onloop
