#pragma once
/// @file
/// Node's phases and queues on a context: timeouts, immediates, ticks and microtasks. The sockets are in
/// onloop/node/net.hpp.
///
/// A turn has four phases, in this order:
///
/// - the timeouts that are due
/// - I/O
/// - the immediates that were set before this phase
/// - 'close' of the sockets that were closed before this phase
///
/// After each callback of these phases, and before the first one, the layer empties its queues: first all ticks, then
/// all microtasks, again and again until both queues are empty. Therefore code that queues for ever starves everything
/// else. Code outside this layer may queue tasks too, such as the main program or a callback of onloop/onloop.hpp.
/// These tasks run before the next callback of this layer. At the latest they run at the end of the turn, or at the end
/// of the next turn.
///
/// From an I/O callback, an immediate therefore comes before a timeout of zero. From the main program, the timeout
/// comes first. In Node a timeout of zero means one millisecond. Here a delay is exactly what it says, in nanoseconds.
///
/// Liveness: after the first use of this layer, Context::run() returns when nothing referenced is left: no listening
/// server, no open socket, no timeout, no immediate, no callback(), and nothing queued. For this the layer calls
/// Context::set_keepalive(). The application must not call that function itself. Objects that the Context's own calls
/// have made do not count.
///
/// Errors: an exception leaves run() like the exception of any callback, at the latest at the end of a turn. Nothing
/// else is lost. When the context is destroyed, the layer drops everything without a call, and the handles have no
/// effect.
///
/// Thread: each call, and each use of a handle, is for the context's thread. On another thread they throw
/// std::system_error (EPERM).
#include <onloop/export.h>
#include <onloop/context.hpp>
#include <onloop/task.hpp>

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <utility>

namespace onloop {

/// @cond
namespace detail {
class KeepAliveState;
class ImmediateState;
class TimeoutState;
}  // namespace detail
/// @endcond

/// The shape of Node: its phases and queues (onloop/node/phases.hpp), its servers and sockets (onloop/node/net.hpp).
namespace node {

/// A timeout or an interval. Copies mean the same one. Dropping all copies does not cancel it. A Timeout that is made
/// by default has no effect.
class ONLOOP_API Timeout {
 public:
  /// A handle without a timeout. No call has an effect.
  Timeout() noexcept = default;
  /// For the library: a handle to a timeout that exists.
  explicit Timeout(std::shared_ptr<detail::TimeoutState> state) noexcept : state_(std::move(state)) {}
  /// Cancels the timeout. Its callable is destroyed. If the callable is running, it is destroyed when it returns.
  void clear() const;
  /// Makes the timeout count from now, with the same delay. It may be called in the timeout's own callback. It has no
  /// effect after the timeout has ended or was cleared.
  void refresh() const;
  /// Makes the timeout keep run() from returning while it is set. At first it does. unref() ends this.
  void ref() const;
  /// Lets run() return although the timeout is set. The timeout still runs while something else keeps run() going.
  void unref() const;
  /// @return True if ref() was called last, or neither ref() nor unref(). False for a handle without a timeout.
  [[nodiscard]] bool has_ref() const noexcept;

 private:
  std::shared_ptr<detail::TimeoutState> state_;
};

/// Runs `task` once, `delay` from now. If `delay` is zero or less, the task runs in the next turn.
ONLOOP_API Timeout set_timeout(Context& context, Task task, std::chrono::nanoseconds delay = {});
/// Runs `callback` each `period`, without drift. Periods that were missed are skipped. If `period` is zero or less, the
/// callback runs in each turn.
ONLOOP_API Timeout set_interval(Context& context, std::function<void()> callback, std::chrono::nanoseconds period);
/// Cancels a timeout: the same as Timeout::clear, in Node's spelling.
inline void clear_timeout(const Timeout& timeout) {
  timeout.clear();
}
/// Cancels an interval: the same as Timeout::clear, in Node's spelling.
inline void clear_interval(const Timeout& interval) {
  interval.clear();
}

/// A handle like Timeout, for an immediate. An unreferenced immediate does not wake the loop; it runs in the next turn
/// caused by something else.
class ONLOOP_API Immediate {
 public:
  /// A handle without an immediate. No call has an effect.
  Immediate() noexcept = default;
  /// For the library: a handle to an immediate that exists.
  explicit Immediate(std::shared_ptr<detail::ImmediateState> state) noexcept : state_(std::move(state)) {}
  /// Cancels the immediate. It has no effect once the immediate has run.
  void clear() const;
  /// Makes the immediate wake the loop, and keep run() from returning until it has run. At first it does both. unref()
  /// ends this.
  void ref() const;
  /// Lets run() return although the immediate has not run.
  void unref() const;
  /// @return True if ref() was called last, or neither ref() nor unref(). False for a handle without an immediate.
  [[nodiscard]] bool has_ref() const noexcept;

 private:
  std::shared_ptr<detail::ImmediateState> state_;
};

/// Runs `task` after the I/O of this turn. If an immediate calls this, the task runs after the I/O of the next turn.
ONLOOP_API Immediate set_immediate(Context& context, Task task);
/// Cancels an immediate: the same as Immediate::clear, in Node's spelling.
inline void clear_immediate(const Immediate& immediate) {
  immediate.clear();
}

/// Queues a tick: `task` runs when the running callback has returned, before anything else.
ONLOOP_API void next_tick(Context& context, Task task);
/// Queues a microtask: `task` runs when the running callback has returned and all ticks have run.
ONLOOP_API void queue_microtask(Context& context, Task task);

}  // namespace node

/// @cond
namespace detail {

/// Keeps run() from returning until it has been used or is destroyed.
class ONLOOP_API KeepAlive {
 public:
  explicit KeepAlive(Context& context);
  KeepAlive(KeepAlive&&) noexcept = default;
  ~KeepAlive();
  /// @return True while the context exists.
  [[nodiscard]] bool alive() const noexcept;
  /// Runs `task` as a callback of the layer, unless the context is gone.
  void run(Task task);

 private:
  std::shared_ptr<KeepAliveState> state_;
};

}  // namespace detail
/// @endcond

namespace node {

/// The result of callback(). It is move-only. It takes the arguments that F takes.
template <class F>
class Callback {
 public:
  /// Wraps `function`, as callback() does.
  Callback(Context& context, F function) : function_(std::move(function)), hold_(context) {}
  /// Calls the wrapped function as a callback of the layer, and discards its result.
  template <class... A>
  requires std::invocable<F&, A...>
  void operator()(A&&... arguments) {
    const auto call = [&] { (void)std::invoke(function_, std::forward<A>(arguments)...); };
    hold_.run([&call] { call(); });
  }

 private:
  F function_;
  detail::KeepAlive hold_;
};

/// Wraps `function`, so that it runs as a callback of this layer: the queues are emptied after it. Until the result has
/// been called for the first time or is destroyed, it keeps run() from returning. Use it for work that the context does
/// by calls outside this layer, such as `context.post(node::callback(context, f))`, or for the end of work that was
/// given away.
///
/// A call after the context has gone does nothing. The result must be called and destroyed on the context's thread. It
/// must stay where it is while it runs. If it is called inside another callback of this layer, it is a part of that
/// callback.
template <class F>
[[nodiscard]] Callback<std::decay_t<F>> callback(Context& context, F&& function) {
  return {context, std::forward<F>(function)};
}

}  // namespace node
}  // namespace onloop
