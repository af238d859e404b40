#pragma once
/// Node's phases and queues on a context: timeouts, immediates, ticks and microtasks (onloop/net.hpp has the sockets).
///
/// A turn is: the timeouts that are due; I/O; the immediates that were set by then; 'close' of sockets that were closed
/// by then. After each of these callbacks, and before the first, the queues are emptied: all ticks, then all
/// microtasks, until both are empty; so those who queue for ever starve everything else. What is queued elsewhere (by
/// the main program, by a callback of onloop/onloop.hpp) is run before the next callback of this layer, at the latest
/// at the end of the turn or of the next.
///
/// So from an I/O callback an immediate comes before a timeout of zero. From the main program the timeout comes first:
/// unlike in Node, where zero means one millisecond, a delay is what it says, in nanoseconds.
///
/// Liveness: from the first use of this layer on, Context::run() returns when nothing is left that is referenced: no
/// listening server, open socket, timeout, immediate, callback(), and nothing queued. The layer calls
/// Context::set_keepalive() for that, so don't. What was made by the Context's own calls does not count.
///
/// Errors: an exception leaves run() as that of any callback, at the latest at the end of a turn, and nothing else is
/// lost. When the context is destroyed everything is dropped without a call, and handles are inert. Thread: the
/// context's, for each call and each handle; from another they throw std::system_error (EPERM).
#include <onloop/export.h>
#include <onloop/context.hpp>
#include <onloop/task.hpp>

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <utility>

namespace onloop {

namespace detail {
class KeepAliveState;
class ImmediateState;
class TimeoutState;
}  // namespace detail

namespace node {

/// A timeout or an interval. Copies mean the same one; dropping them all cancels nothing. Default: none, inert.
class ONLOOP_API Timeout {
 public:
  Timeout() noexcept = default;
  explicit Timeout(std::shared_ptr<detail::TimeoutState> state) noexcept : state_(std::move(state)) {}
  /// It will not be called any more. Its callable is destroyed; if that is running, when it returns.
  void clear() const;
  /// Counts from now, with the same delay; also in its own callback. Nothing once it is over or cleared.
  void refresh() const;
  /// Whether it keeps run() from returning while it is set. At first it does.
  void ref() const;
  void unref() const;
  [[nodiscard]] bool has_ref() const noexcept;

 private:
  std::shared_ptr<detail::TimeoutState> state_;
};

/// Runs `task` once, `delay` from now; zero or less: in the next turn.
ONLOOP_API Timeout set_timeout(Context& context, Task task, std::chrono::nanoseconds delay = {});
/// Runs `callback` each `period`, without drift; periods that were missed are skipped. Zero or less: in each turn.
ONLOOP_API Timeout set_interval(Context& context, std::function<void()> callback, std::chrono::nanoseconds period);
inline void clear_timeout(const Timeout& timeout) {
  timeout.clear();
}
inline void clear_interval(const Timeout& interval) {
  interval.clear();
}

/// Like a Timeout, for an immediate. Unreferenced, it waits for a turn that something else brings about.
class ONLOOP_API Immediate {
 public:
  Immediate() noexcept = default;
  explicit Immediate(std::shared_ptr<detail::ImmediateState> state) noexcept : state_(std::move(state)) {}
  void clear() const;
  void ref() const;
  void unref() const;
  [[nodiscard]] bool has_ref() const noexcept;

 private:
  std::shared_ptr<detail::ImmediateState> state_;
};

/// Runs `task` after the I/O of this turn; set by an immediate, after that of the next.
ONLOOP_API Immediate set_immediate(Context& context, Task task);
inline void clear_immediate(const Immediate& immediate) {
  immediate.clear();
}

/// Runs `task` when the callback that is running has returned, before anything else.
ONLOOP_API void next_tick(Context& context, Task task);
/// Runs `task` when the callback that is running has returned, and all ticks.
ONLOOP_API void queue_microtask(Context& context, Task task);

}  // namespace node

namespace detail {

/// Keeps run() from returning until it has been used or goes.
class ONLOOP_API KeepAlive {
 public:
  explicit KeepAlive(Context& context);
  KeepAlive(KeepAlive&&) noexcept = default;
  ~KeepAlive();
  /// Whether there is a context.
  [[nodiscard]] bool alive() const noexcept;
  /// Runs `task` as a callback of the layer, unless the context is gone.
  void run(Task task);

 private:
  std::shared_ptr<KeepAliveState> state_;
};

}  // namespace detail

namespace node {

/// What callback() makes: move-only, called with whatever F takes.
template <class F>
class Callback {
 public:
  Callback(Context& context, F function) : function_(std::move(function)), hold_(context) {}
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

/// Wraps `function` so that it runs as a callback of this layer, with the queues emptied after it, and counts as
/// pending until it has been called for the first time or is destroyed. For what the context does by other calls than
/// this layer's: `context.post(node::callback(context, f))`, or the end of work that was given away.
///
/// Nothing happens when it is called after its context is gone. It must be called and destroyed on the context's
/// thread, and stay where it is while it runs. If it is called inside another callback of this layer, it is a part of
/// that one.
template <class F>
[[nodiscard]] Callback<std::decay_t<F>> callback(Context& context, F&& function) {
  return {context, std::forward<F>(function)};
}

}  // namespace node
}  // namespace onloop
