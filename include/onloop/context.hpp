#pragma once
#include <onloop/export.h>
#include <onloop/address.hpp>
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
  std::uint64_t turned_away = 0;  ///< clients closed at once: by on_accept, by max_connections, or out of descriptors
  std::uint64_t closed = 0;       ///< connections that have ended, accepted or not
  std::uint64_t connections = 0;  ///< connections that are open now
  std::uint64_t bytes_received = 0;  ///< bytes that were read from the sockets of connections
  std::uint64_t bytes_sent = 0;      ///< bytes that the kernel has taken
  std::uint64_t cutovers = 0;        ///< moves to another loop
  /// How long the context did not serve during the last move: from the call of move_to() to the first turn on the new
  /// loop.
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
/// @cond
namespace detail {
class BlockingWork;
class Runtime;
ONLOOP_API Runtime& runtime_of(Context& context) noexcept;
}  // namespace detail
/// @endcond

/// Owns everything that onloop runs on one loop and on one thread: listeners, connections, timers, watches, tasks.
///
/// Thread: a context belongs to the thread that runs it. A thread runs it by run(), by dispatch(), or by the callbacks
/// of a foreign loop. The binding ends when run() returns, or with release_thread(). A call from another thread that
/// changes something throws std::system_error (EPERM). A destructor cannot throw; on the wrong thread it logs the
/// reason and aborts. Other threads use a Remote.
///
/// Callers: the functions may be called from any code on that thread, also from callbacks of the loop itself, such as
/// a GLib timer. An exception that such a call throws is the caller's own.
///
/// Turns: one turn runs the timers that are due first, then I/O, then posted tasks. A callback may do anything. It may
/// also destroy the context.
///
/// Errors: a call that sets something up throws std::system_error. The message says what the call tried to do, and with
/// which object.
class ONLOOP_API Context {
 public:
  /// Attaches the context to `loop`.
  /// @throws std::system_error if the attachment fails, or if the version of the shim does not match this library.
  explicit Context(Loop loop, ContextOptions options = {});
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  /// Severs the listeners and connections: it closes them at once, and no callback comes. It kills the children that
  /// still run. It leaves a foreign loop in the state in which the context found it.
  ///
  /// The context must be destroyed before its foreign loop is freed. Therefore do not make a Context static: whichever
  /// thread calls exit() destroys a static object, and it does so after the loop has gone.
  ~Context();

  /// Listens on `address` (see Address). `protocol` serves each client.
  Listener& listen(std::string_view address, Protocol& protocol, ListenOptions options = {});
  /// The same for an address that is parsed already.
  Listener& listen(const Address& address, Protocol& protocol, ListenOptions options = {});
  /// The same for several addresses, which one Listener serves: on all of them or, if this throws, on none. Each
  /// address with port 0 gets a port of its own.
  /// @throws std::system_error with EINVAL also if `addresses` is empty, or has more than one path of a UNIX socket.
  Listener& listen(std::span<const Address> addresses, Protocol& protocol, ListenOptions options = {});
  /// Connects to `address`, or to `name:port`. This call never blocks. on_open comes later if the connection succeeds,
  /// and on_close if it fails. The connection may be used at once: what is written is sent when it is open.
  ///
  /// The worker pool looks up a name (see resolve() in onloop/resolve.hpp). Then the context tries each address of the
  /// name in turn. If all of them fail, on_close gets the error of the last one. If the look-up fails, on_close gets a
  /// code of resolver_category(). ~Context waits for a look-up that is under way.
  /// @throws std::system_error only if no attempt is possible: with EINVAL if the address is malformed; and with errors
  /// that may pass, which are EMFILE, ENFILE, ENOBUFS or ENOMEM if the system has no socket left, and EAGAIN if the
  /// worker queue is full.
  Connection& connect(std::string_view address, Protocol& protocol, ConnectOptions options = {});
  /// The same for an address that is parsed already.
  Connection& connect(const Address& address, Protocol& protocol, ConnectOptions options = {});
  /// The same for several addresses, such as the result of resolve(). The context tries them in their order, in the
  /// same way as the addresses of a name.
  /// @throws std::system_error also if `addresses` is empty (EINVAL).
  Connection& connect(std::span<const Address> addresses, Protocol& protocol, ConnectOptions options = {});
  /// Takes a connected stream socket. on_open comes later. The context does not change the flags of the socket; it
  /// makes each system call non-blocking instead. If adopt() throws, the caller still owns the descriptor.
  Connection& adopt(int fd, Protocol& protocol, Limits limits = {});
  /// The same for a socket from which the caller has read already, such as a PROXY header and the bytes after it, or a
  /// ClientHello.
  /// @param fd A connected stream socket, as for adopt() without `already_read`.
  /// @param protocol Serves the connection.
  /// @param limits The limits of the connection.
  /// @param already_read The bytes that the caller has read. They are copied. on_data gets them after on_open and
  /// before the bytes of the socket, in pieces of at most ContextOptions::read_buffer bytes. They wait while reading is
  /// paused. Statistics::bytes_received does not count them. Until on_data has got all of them, the connection takes no
  /// part in a takeover.
  Connection& adopt(int fd, Protocol& protocol, Limits limits, std::span<const std::byte> already_read);
  /// Calls `callback` when `fd` is ready. One call reports one direction: priority first, then read, then write. A
  /// spurious call is possible. One descriptor may have several watches (see Watch). The caller keeps the ownership of
  /// the descriptor.
  /// @param fd Any descriptor that poll(2) can wait for.
  /// @param interest The directions to watch for.
  /// @param callback Takes an Interest: the direction that is ready.
  /// @throws std::system_error with EPERM for a descriptor that epoll(7) refuses because it is always ready, such as a
  /// regular file or a directory; loops that do not use epoll refuse it, too. With EEXIST if the descriptor belongs to
  /// a connection or a listener of this context. With EINVAL if the loop does not know the interest.
  Watch watch(int fd, Interest interest, Function<void(Interest)> callback);
  /// Runs `task` once, `delay` from now. If `delay` is zero or less, the task runs in a later turn, after I/O was
  /// served.
  Timer timer(std::chrono::nanoseconds delay, Task task);
  /// Runs `callback` each `period`, without drift. Periods that were missed are skipped.
  /// @throws std::system_error if `period` is not above zero (EINVAL).
  Timer every(std::chrono::nanoseconds period, Function<void()> callback);
  /// Calls `callback` in a turn after the signal `number` has arrived. One call stands for all signals that arrived
  /// before it. The callbacks of one signal run in the order in which they were set.
  ///
  /// The default action of the signal does not happen while it is watched. Other handlers of the signal are called as
  /// well; onloop/signal.hpp has the rules. A handler must return: a handler that leaves by siglongjmp is never called
  /// again on that thread. onloop does not change signal masks, so at least one thread must leave the signal unblocked.
  /// System calls that the signal interrupts are restarted (SA_RESTART). They are not restarted if an earlier handler
  /// is installed without SA_RESTART.
  ///
  /// A forked child inherits the watches. In the child the default action of the signal does not happen either, and
  /// `callback` runs only after after_fork(). Until then a signal to the child has no effect. A child that must end on
  /// SIGTERM has four ways: it calls after_fork(), or destroys the context, or calls exec, or restores the default by
  /// sigaction(2).
  /// @throws std::system_error with EINVAL for a signal that can't be watched: SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
  /// SIGFPE, SIGILL.
  Signal on_signal(int number, Function<void()> callback);
  /// Runs `work()`, which may block, on a thread of the context's worker pool. Then it calls `done(outcome)` in a turn.
  /// The header onloop/blocking.hpp must be included.
  ///
  /// At most ContextOptions::worker_threads pieces of work run at a time. They begin in the order of the calls.
  /// ~Context discards the work that still waits, and does not call it. It asks the work that runs to stop, and waits
  /// for it. A forked child has none of the threads: after_fork() in the child cancels all work (ECANCELED).
  /// @param work Is moved. It may take a std::stop_token.
  /// @param done Is moved. It takes an Outcome<T>: the result of `work`, or what `work` threw.
  /// @throws std::system_error with EAGAIN while ContextOptions::worker_queue pieces of work wait.
  template <class Work, class Done>
  Job run_blocking(Work work, Done done);
  /// Starts a child process (onloop/process.hpp; Linux 5.4 or later). If `on_exit` is not empty, it is called in a turn
  /// after the child has ended. The streams of the child close independently of the exit. If you need both the output
  /// and the status, wait for both.
  ///
  /// The context reaps its own children, each by its own pidfd. SIGCHLD and all other children belong to the
  /// application. When the context is destroyed, it kills the children that still run by SIGKILL and waits for them. It
  /// does neither for a child that it may not kill because the child has the rights of another user. A forked child of
  /// the application neither signals these children nor waits for them, because they are the parent's. on_exit does not
  /// come in the forked child.
  /// @throws std::system_error with the reason if the program cannot run, such as ENOENT for a missing program. Then
  /// there is no child, and nothing remains of the attempt.
  Process spawn(SpawnOptions options, Function<void(ExitStatus)> on_exit);
  /// Runs `task` at the end of this turn. If the caller is a posted task, or code that no callback of this context has
  /// called, `task` runs in the next turn.
  void post(Task task);
  /// @return A reference to this context for other threads and for signal handlers. It may outlive the context.
  [[nodiscard]] Remote remote() const;
  /// Ends the service of this context in good order. It accepts the clients that wait in the backlog, also those of a
  /// paused listener, and closes all listeners. Then it waits until every connection has ended, also those from
  /// connect() and adopt(), and posts `done`. At `limit` it aborts the remaining connections with ETIMEDOUT.
  ///
  /// drain() closes no connection. The application closes those that would stay open. The clients of the backlog still
  /// come: on_open is called for them after drain(), and the application may close them there. Until `done` the context
  /// works as before: a new connection is allowed, and is waited for.
  ///
  /// References to the listeners are invalid when this returns. If many clients wait, some listeners still accept in
  /// the next turns.
  /// @throws std::system_error with EALREADY if this context has been drained before.
  void drain(std::chrono::nanoseconds limit, Task done = {});
  /// The same for one service among several of a program. It closes `listeners`, and waits until every connection that
  /// they accepted has ended. Then it posts `done`. At `limit` it aborts the remaining connections of these listeners
  /// with ETIMEDOUT. Everything else in the context goes on. This function may be called any number of times, also
  /// while other listeners are still draining.
  /// @param listeners Open listeners of this context. The references to them are invalid when this returns.
  /// @param limit How long this waits before it aborts what remains.
  /// @param done Runs once, in a turn, when no connection of these listeners is left.
  /// @throws std::system_error if one of them is null or belongs to another context (EINVAL), or is draining already
  /// (EALREADY). Then nothing has changed.
  void drain(std::span<Listener* const> listeners, std::chrono::nanoseconds limit, Task done = {});

  /// Runs an owned loop until stop() or set_keepalive(false), also if there is nothing left to do. (Node's shape and
  /// coroutines make it return when nothing is left.) An exception that a callback throws leaves run(). After
  /// that run() may be called again.
  /// @throws std::system_error with EBUSY if the loop runs already, with ENOTSUP for a foreign loop.
  void run();
  /// Makes run() return at the end of this turn. If run() is not running, the next call of run() returns at once.
  void stop();
  /// Sets whether this context keeps run() from returning. On a foreign loop whose run call counts its users, such as
  /// libuv's, it sets the same for that run call: after false, uv_run() may return although connections are open. It is
  /// on at first. (It has nothing to do with the keep-alive of TCP.)
  void set_keepalive(bool on);

  /// Returns a descriptor for an application that has a loop but no shim for it. The descriptor is readable whenever
  /// dispatch() has work, also for deadlines and posted tasks. Watch the descriptor for reading, level-triggered or
  /// edge-triggered, and call dispatch() once for each event. The context keeps the descriptor up to date from the
  /// first call of this function on.
  /// @return The descriptor. The context owns it.
  /// @throws std::system_error with ENOTSUP where the loop has no such descriptor: native-poll, a loop of the
  /// application, and owned loops of GLib, libevent and libuv. With EMFILE or a similar error if the loop cannot make
  /// one now.
  [[nodiscard]] int pollable_fd();
  /// An alias of pollable_fd().
  [[nodiscard]] int fd() { return pollable_fd(); }
  /// Does the work that is due now. It does not block.
  /// @throws std::system_error with ENOTSUP for a foreign loop.
  void dispatch();

  /// Moves the live context to another loop: a cutover. Everything moves in its present state: listeners, connections
  /// in every state, timers, watches, signals, tasks, posts. Nothing of the context remains on the old loop. If `loop`
  /// is the same loop with the same hosting, the context does not move. It only takes over the priority of `loop`, if
  /// one is given.
  ///
  /// In a callback: the turn ends there, and the rest of its work follows on the new loop. Within run(): if the new
  /// loop is an owned one, run() goes on with it; otherwise run() returns. A descriptor from pollable_fd() no longer
  /// belongs to the context.
  ///
  /// Thread: call this on the thread of both loops. No other thread may iterate either loop meanwhile. The move is over
  /// when the callbacks in which it was made have returned. After that the context is bound to no thread. If a loop
  /// calls the context from another thread before the move is over, the process logs the reason and aborts.
  ///
  /// Cost: between the native loop and aggregate hosting on any loop, the cost does not depend on the number of
  /// connections, because only the descriptor of the native set changes its host. Otherwise a move costs two calls to a
  /// loop for each descriptor.
  ///
  /// @return True if the context moved, false if it was there already.
  /// @throws std::system_error that says what failed, if something cannot be attached to `loop`. Then nothing has
  /// moved, and the context goes on where it was.
  bool move_to(Loop loop);

  /// Unbinds the context from its thread. Another thread may run it next.
  void release_thread();
  /// Rebuilds everything on `loop`, in the child after a fork. `loop` must belong to the child. In the child only this
  /// function and the destructor are allowed. The parent notices neither of them.
  void after_fork(Loop loop);

  /// @return The loop on which the context is now. The reference is valid until the context moves or is destroyed.
  [[nodiscard]] const Loop& loop() const noexcept;
  /// @return The counts so far, of the whole life of this context. Moves to another loop do not reset them.
  [[nodiscard]] Statistics statistics() const noexcept;

  // ---- callbacks of a wrong shape: the compiler refuses them with a sentence ----
  // Nobody can call these functions. Therefore they are not in the reference.
  /// @cond
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
  /// @endcond

 private:
  Job start_blocking(std::shared_ptr<detail::BlockingWork> work);
  friend detail::Runtime& detail::runtime_of(Context& context) noexcept;
  detail::Runtime* runtime_;  // shared with the frames that are using it when the context is destroyed
};

}  // namespace onloop
