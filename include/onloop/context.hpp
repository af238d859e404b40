#pragma once
#include <onloop/address.hpp>
#include <onloop/export.h>
#include <onloop/function.hpp>
#include <onloop/loop.hpp>
#include <onloop/options.hpp>
#include <onloop/remote.hpp>
#include <onloop/signal.hpp>
#include <onloop/task.hpp>
#include <onloop/timer.hpp>
#include <onloop/watch.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>

namespace onloop {

/// What a context has done so far.
struct ONLOOP_API Statistics {
  std::uint64_t accepted = 0;     ///< connections that came through a listener
  std::uint64_t turned_away = 0;  ///< clients closed at once: by on_accept, max_connections, or for want of descriptors
  std::uint64_t closed = 0;       ///< connections that are over, accepted or not
  std::uint64_t connections = 0;  ///< open now
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;  ///< taken by the kernel
  std::uint64_t cutovers = 0;    ///< moves to another loop
  /// How long the last one kept the context from serving: from move_to() to the first turn on the next loop.
  std::chrono::nanoseconds last_stall{0};
};

class Connection;
class Context;
class Job;
class Listener;
class Process;
class Protocol;
struct ExitStatus;
struct SpawnOptions;
namespace detail {
class BlockingWork;
class Runtime;
ONLOOP_API Runtime& runtime_of(Context& context) noexcept;
}  // namespace detail

/// Everything that onloop runs on one loop, on one thread: listeners, connections, timers, watches, tasks.
///
/// Thread: a context belongs to the thread that runs it (run, dispatch, or the foreign loop's callbacks) until run()
/// returns or release_thread(). Any call from another thread that changes something throws std::system_error (EPERM);
/// for a destructor the process ends with words. Other threads use a Remote.
///
/// Turns: in one turn come the timers that are due, then I/O, then posted tasks. All callbacks may do anything,
/// destroying the context included.
///
/// Errors: calls that set something up throw std::system_error that says what was done to what.
class ONLOOP_API Context {
 public:
  /// Attaches to `loop`. Throws if that fails, or if the shim's version is not ours.
  explicit Context(Loop loop, ContextOptions options = {});
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  /// Severs listeners and connections (closed at once, no callback), kills children that still run, and leaves a
  /// foreign loop as it was found; before that loop is freed. So a static Context is a mistake: whichever thread calls
  /// exit() destroys it, after the loop.
  ~Context();

  /// Listens on `address` (see Address), with `protocol` for each client.
  Listener& listen(std::string_view address, Protocol& protocol, ListenOptions options = {});
  /// The same for an address that is parsed already.
  Listener& listen(const Address& address, Protocol& protocol, ListenOptions options = {});
  /// Connects to `address`, or to `name:port`: the name is looked up by the worker pool (resolve() in
  /// onloop/resolve.hpp), and each address of it tried in turn. Never blocks. on_open or, on failure, on_close comes
  /// later. Throws only if there can be no attempt: a malformed address, no descriptor left, a full worker queue.
  /// ~Context waits for a look-up that is under way.
  Connection& connect(std::string_view address, Protocol& protocol, ConnectOptions options = {});
  /// The same for an address that is parsed already.
  Connection& connect(const Address& address, Protocol& protocol, ConnectOptions options = {});
  /// The same for several addresses, as resolve() gives them. They are tried in their order, each as one of a name's.
  /// @throws std::system_error also if there is no address (EINVAL).
  Connection& connect(std::span<const Address> addresses, Protocol& protocol, ConnectOptions options = {});
  /// Takes a connected stream socket; on_open comes later. Its flags are left alone (each call is made non-blocking by
  /// itself). If it throws, the descriptor is still the caller's.
  Connection& adopt(int fd, Protocol& protocol, Limits limits = {});
  /// The same for a socket from which the caller has read already: a PROXY header and what came with it, a ClientHello.
  /// @param already_read Is copied. It comes by on_data, after on_open and before what the socket has, in pieces of at
  /// most ContextOptions::read_buffer bytes; while reading is paused it waits. Statistics::bytes_received does not
  /// count it. Until all of it has come, the connection takes no part in a takeover.
  Connection& adopt(int fd, Protocol& protocol, Limits limits, std::span<const std::byte> already_read);
  /// Calls back when `fd` is ready, one direction a call: priority first, then read, then write. A spurious call is
  /// possible. One descriptor may have several watches (see Watch). The descriptor stays the caller's.
  /// @param callback Takes an Interest, the direction that is ready.
  /// @throws std::system_error for what epoll(7) refuses because it is always ready, as regular files and directories,
  /// also on loops that do without epoll (EPERM); for a descriptor that a connection or a listener of this context has
  /// (EEXIST); for an interest that the loop does not know (EINVAL).
  Watch watch(int fd, Interest interest, Function<void(Interest)> callback);
  /// Runs `task` once, `delay` from now. Zero or less: in a later turn, after I/O was served.
  Timer timer(std::chrono::nanoseconds delay, Task task);
  /// Runs `callback` each `period` (above zero, else EINVAL), without drift; periods that were missed are skipped.
  Timer every(std::chrono::nanoseconds period, Function<void()> callback);
  /// Calls back in a turn after the signal `number` has come, once for any number of them before it; callbacks of one
  /// signal in the order in which they were set. What the signal would do by default, it does not meanwhile. Other
  /// handlers of the signal are called as well; onloop/signal.hpp has the rules. A handler has to return: one that
  /// leaves by siglongjmp is never called again on that thread. Signal masks are left alone: the signal comes if a
  /// thread lets it. System calls that it interrupts are restarted (SA_RESTART), unless a handler was there before that
  /// has not asked for it. Throws EINVAL for a signal that can't be watched: SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
  /// SIGILL.
  ///
  /// A forked child has the watches, too: a signal to it does not what it would by default, and is called back after
  /// after_fork(). Until then nothing comes of it: a child that is to end on SIGTERM, and neither calls that nor
  /// destroys the context nor execs, has to put the default back by sigaction(2).
  Signal on_signal(int number, Function<void()> callback);
  /// Runs `work()`, which may block, on a thread of the context's worker pool, and then `done(outcome)` in a turn;
  /// `outcome` is an Outcome<T> (onloop/blocking.hpp, which has to be included), the result of `work` or what it threw.
  /// Both are moved; `work` may take a std::stop_token. Up to ContextOptions::worker_threads at a time, in their order;
  /// throws EAGAIN while worker_queue others wait. ~Context discards what waits, without a call, asks what runs
  /// to stop and waits for it. A forked child has none of the threads: after_fork() there cancels all (ECANCELED).
  template <class Work, class Done>
  Job run_blocking(Work work, Done done);
  /// Starts a child process (onloop/process.hpp; Linux 5.4 or later), and calls `on_exit` in a turn once it has ended,
  /// if that is not empty. Its streams end by themselves: on_exit may come before the last of their data, so who needs
  /// both waits for both. Throws what keeps it from running, such as ENOENT for a missing program; then there is no
  /// child, and nothing of it is left.
  ///
  /// The context reaps its children, each by its own pidfd: SIGCHLD and other children are the application's. Those
  /// that still run when the context is destroyed are killed by SIGKILL, and waited for; unless they may not be killed,
  /// since they have another user's rights. In a forked child of the application they are the parent's: neither
  /// signalled nor waited for, and on_exit does not come there.
  Process spawn(SpawnOptions options, Function<void(ExitStatus)> on_exit);
  /// Runs `task` at the end of this turn; from a task or from outside the loop's callbacks, in the next one.
  void post(Task task);
  [[nodiscard]] Remote remote() const;
  /// Accepts the clients that wait to be accepted, also those of a paused listener, and closes all listeners. Waits
  /// until every connection is over and then posts `done`; at `limit` aborts those that are left with ETIMEDOUT.
  /// References to the listeners are invalid when this returns, although some may still accept in the next turns if
  /// many clients wait. Once a context (EALREADY).
  void drain(std::chrono::nanoseconds limit, Task done = {});
  /// The same for one service among several of a program. It closes `listeners`, waits until every connection that they
  /// accepted is over and then posts `done`; at `limit` it aborts those that are left with ETIMEDOUT. Everything else
  /// in the context goes on. It may be called any number of times, also while others drain.
  /// @param listeners Listeners of this context that are open. The references to them are invalid when this returns.
  /// @throws std::system_error if one is null or of another context (EINVAL); then nothing was done.
  void drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done = {});

  /// Runs an owned loop until stop(), or until set_keepalive(false). EBUSY if it runs already, ENOTSUP for a foreign
  /// loop. An exception that a callback throws leaves run(), which may be called again.
  void run();
  /// run() returns at the end of this turn; if it does not run, the next run() returns at once.
  void stop();
  /// Whether this context keeps run() (or the run call of a foreign loop that counts, like libuv's) from returning.
  /// True at first.
  void set_keepalive(bool on);

  /// For an application that has a loop but no shim: a descriptor, readable whenever dispatch() has work, deadlines and
  /// posted tasks included. Watch it for reading, level- or edge-triggered: dispatch once for each event. From the
  /// first call on, the context keeps it up to date.
  /// @return The descriptor. The context owns it.
  /// @throws std::system_error where the loop has none: native-poll, the application's own loops, owned ones of GLib,
  /// libevent and libuv (ENOTSUP); EMFILE and the like if it can have none now.
  [[nodiscard]] int pollable_fd();
  /// The same: an alias.
  [[nodiscard]] int fd() { return pollable_fd(); }
  /// Does what is due now, and does not block. ENOTSUP for a foreign loop.
  void dispatch();

  /// Moves to another loop, live: a cutover. Everything comes along as it is: listeners, connections in every state,
  /// timers, watches, signals, tasks, posts; nothing of it is left on the last loop. All or nothing: what can't be
  /// attached to `loop` is a std::system_error that says what failed, and the context goes on where it was. To the same
  /// loop with the same hosting it does nothing, but takes over a priority that is given.
  ///
  /// In a callback: the turn ends there, and what is left of it comes on the next loop. Within run(), run() goes on
  /// with the next loop if that is an owned one, else it returns. A descriptor from pollable_fd() is no longer the
  /// context's.
  ///
  /// Thread: that of both loops, and neither may be iterated by another meanwhile. When the move is over, that is when
  /// the callbacks have returned in which it was made, the context is bound to none; if a loop calls it from another
  /// thread before that, the process ends with words.
  ///
  /// Cost: between the native loop and aggregate hosting on any, the same whatever the number of connections, since
  /// only the descriptor of the native set is hosted anew; else two calls to a loop for each descriptor.
  ///
  /// @return True if it moved, false if it was there already.
  bool move_to(Loop loop);

  /// Unbinds from the thread, so that another may run it next.
  void release_thread();
  /// After fork, in the child: rebuilds everything on `loop`, which is the child's. In the child only this and the
  /// destructor are allowed; the parent notices neither.
  void after_fork(Loop loop);

  [[nodiscard]] const Loop& loop() const noexcept;
  [[nodiscard]] Statistics statistics() const noexcept;

  // ---- callbacks of a wrong shape: they are refused with a sentence ----
  template <class F>
  requires(!std::is_convertible_v<F, Function<void(Interest)>>) Watch watch(int, Interest, F&&) {
    static_assert(detail::kNever<F>,
                  "Context::watch takes a callable with one parameter, an onloop::Interest: "
                  "[](onloop::Interest ready) { ... }. One that can't be copied has to be moved in.");
    return {};
  }
  template <class F>
  requires(!std::is_convertible_v<F, Task>) Timer timer(std::chrono::nanoseconds, F&&) {
    static_assert(detail::kNever<F>,
                  "Context::timer takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
    return {};
  }
  template <class F>
  requires(!std::is_convertible_v<F, Function<void()>>) Timer every(std::chrono::nanoseconds, F&&) {
    static_assert(detail::kNever<F>,
                  "Context::every takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
    return {};
  }
  template <class F>
  requires(!std::is_convertible_v<F, Function<void()>>) Signal on_signal(int, F&&) {
    static_assert(detail::kNever<F>,
                  "Context::on_signal takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
    return {};
  }
  template <class F>
  requires(!std::is_convertible_v<F, Task>) void post(F&&) {
    static_assert(detail::kNever<F>,
                  "Context::post takes a callable without parameters: [] { ... }. "
                  "One that can't be copied has to be moved in.");
  }
  template <class F, class Result = Process>
  requires(!std::is_convertible_v<F, Function<void(ExitStatus)>>) Result spawn(const SpawnOptions&, F&&) {
    static_assert(detail::kNever<F>,
                  "Context::spawn takes a callable with one parameter, an onloop::ExitStatus: "
                  "[](onloop::ExitStatus status) { ... }. One that can't be copied has to be moved in.");
    return Result();
  }

 private:
  Job start_blocking(std::shared_ptr<detail::BlockingWork> work);
  friend detail::Runtime& detail::runtime_of(Context& context) noexcept;
  detail::Runtime* runtime_;  // shared with the frames that are using it when the context is destroyed
};

}  // namespace onloop
