#pragma once
#include <onloop/export.h>
#include <onloop/loop_ops.h>

#include <optional>
#include <string_view>

namespace onloop {

/// How a context is hosted on a loop.
enum class Hosting {
  direct,     ///< the loop watches each descriptor
  aggregate,  ///< the context keeps a native set of its own, and the loop watches that one descriptor
};

/// Names a loop to run on, and how a context is hosted on it. A Loop is a value: it owns nothing and does nothing. A
/// Context attaches to the loop. If no foreign loop is given, the attachment makes the loop first.
///
/// Lifetime: the ops table must live for the rest of the process. A foreign loop must outlive the contexts on it.
///
/// Thread: any.
class ONLOOP_API Loop {
 public:
  /// A loop that is reached through `ops`. If `foreign` is given, it is the application's own loop. Otherwise the shim
  /// makes a loop and owns it.
  ///
  /// The hosting is aggregate on a foreign loop and direct on an owned one. This constructor is for authors of shims.
  /// The loops of libuv(), glib() and the similar functions have aggregate hosting in both cases.
  Loop(const onloop_ops& ops, void* foreign = nullptr) noexcept  // NOLINT: a table is a loop, where a loop is asked for
      : ops_(&ops), foreign_(foreign), hosting_(foreign ? Hosting::aggregate : Hosting::direct) {}

  /// @return The same loop with direct hosting: each descriptor of the context is registered with the loop. The cost of
  /// a registration and the order of events are the host's.
  [[nodiscard]] Loop direct() const noexcept { return hosted(Hosting::direct); }
  /// @return The same loop with aggregate hosting: all descriptors are in an epoll set of the context, and the loop
  /// watches the one descriptor of that set. A context then behaves the same on every loop. The cost for the host does
  /// not depend on the number of connections.
  [[nodiscard]] Loop aggregate() const noexcept { return hosted(Hosting::aggregate); }
  /// @return The same loop with the given hosting, as by direct() or aggregate().
  [[nodiscard]] Loop hosted(Hosting hosting) const noexcept {
    Loop changed = *this;
    changed.hosting_ = hosting;
    return changed;
  }
  /// @return The same loop at another priority.
  /// @param priority In the host's own terms. In GLib, sd-event and libevent a lower number is served sooner;
  /// libevent's numbers go from 0 to event_base_get_npriorities() - 1. If a loop has no priorities, the context that
  /// attaches to it throws ENOTSUP.
  [[nodiscard]] Loop priority(int priority) const noexcept {
    Loop changed = *this;
    changed.priority_ = priority;
    return changed;
  }

  /// @return The name that the shim has given itself, such as "native" or "glib".
  [[nodiscard]] std::string_view name() const noexcept { return ops_->name; }
  /// @return How a context will be hosted on this loop.
  [[nodiscard]] Hosting hosting() const noexcept { return hosting_; }
  /// @return The priority, or nothing for the shim's default.
  [[nodiscard]] std::optional<int> priority() const noexcept { return priority_; }
  /// @return The shim's table.
  [[nodiscard]] const onloop_ops& ops() const noexcept { return *ops_; }
  /// @return The application's loop, as the shim takes it, or null for an owned loop.
  [[nodiscard]] void* foreign() const noexcept { return foreign_; }

  /// @return True if both name the same loop with the same hosting. The priority is not compared. Two owned loops of
  /// one kind are equal: a context makes its owned loop when it attaches to it, and before that an owned loop has no
  /// identity.
  [[nodiscard]] friend bool operator==(const Loop& one, const Loop& other) noexcept {
    return one.ops_ == other.ops_ && one.foreign_ == other.foreign_ && one.hosting_ == other.hosting_;
  }

 private:
  const onloop_ops* ops_;
  void* foreign_;
  Hosting hosting_;
  std::optional<int> priority_;
};

/// @return The best native loop of this system. On Linux it is the loop on epoll, named "native".
[[nodiscard]] ONLOOP_API Loop native() noexcept;
/// @return The native loop on poll(2), named "native-poll". It is portable. Each turn costs time for each open
/// descriptor. It has no Context::pollable_fd().
[[nodiscard]] ONLOOP_API Loop native_poll() noexcept;

}  // namespace onloop
