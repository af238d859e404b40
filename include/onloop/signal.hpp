#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// Owns the watch of a signal (Context::on_signal); destroying it ends the watch. Inert after its context. For the
/// context's thread. May be cancelled, replaced or destroyed in any callback, its own included.
///
/// A process has one handler for each signal, and a loop that the application runs may have its own (GLib, libuv and
/// libevent do). These rules hold for all who install handlers by sigaction(2):
///
/// - The handler that was there before is called, and is there again when the last watch of the process ends.
/// - A handler that is installed later takes the signal at first, unless it calls its predecessor. The context notices
///   it at its next look, and from then on that handler and the watches are both told. A context looks when a watch
///   begins, when run() begins, when a timer is due, and when it is woken by a Remote, a worker or a signal.
/// - A handler that ends by putting the default in place, as GLib's and libuv's, takes the signal from the watches too.
///   The context puts its handler back at its next look. To have the default while the context runs, end the watch.
/// - A handler that was installed above a watch may go on calling its predecessor when that watch has ended. Then
///   nothing happens: what the signal would do by default is the business of the handler that was called first.
/// - When nobody watches and the kernel calls the handler of onloop, because somebody has put it back, it takes itself
///   out, and the signal does what it does without onloop.
/// - A signal that every thread blocks reaches no handler. sd-event takes its signals so, by a signalfd.
///
/// Several copies of onloop in one process follow the same rules among each other.
class [[nodiscard]] ONLOOP_API Signal {
 public:
  Signal() noexcept = default;

  void cancel() noexcept;
  /// True until it was cancelled or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Signal(detail::HandleTo<detail::SignalEntry> entry) noexcept : entry_(std::move(entry)) {}
  detail::HandleTo<detail::SignalEntry> entry_;
};

}  // namespace onloop
