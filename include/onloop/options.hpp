#pragma once
#include <onloop/export.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>
#include <system_error>

namespace onloop {

/// The limits of one connection.
struct ONLOOP_API Limits {
  /// Above high_water queued bytes, write() returns Flow::wait. At or below low_water, on_drain comes. low_water must
  /// be at most high_water, and high_water at most max_queued. Otherwise the call that takes the limits throws EINVAL.
  std::size_t high_water = 64 * 1024;
  std::size_t low_water = 16 * 1024;  ///< see high_water
  /// If a write() would make the queue longer than this number of bytes, it returns Flow::closed and the connection is
  /// aborted: its queue is discarded, the peer gets a reset, and on_close gets ENOBUFS.
  std::size_t max_queued = std::size_t{64} * 1024 * 1024;
  /// If true, the connection stops reading above high_water until low_water. This bounds the answers that the peer can
  /// make us queue.
  ///
  /// Leave it off where both sides may write much at once. If each side stops reading until the other side has read,
  /// both wait for ever. A protocol that answers what it reads pauses by itself, as Echo does: it calls pause_reading()
  /// after Flow::wait, and resume_reading() in on_drain. A proxy does the same with the connection on its other side.
  bool pause_reading_when_full = false;
  /// The connection closes with ETIMEDOUT after this time without progress, whether reading is paused or not. Progress
  /// is a byte that was read, or a byte that the peer has taken (SIOCOUTQ). Zero means never. The time begins when the
  /// connection is open; before that, ConnectOptions::timeout counts.
  ///
  /// While bytes wait to be sent, the connection looks only once in this time whether the peer has taken some. So it
  /// closes between one and two times this time after the last of them.
  std::chrono::nanoseconds idle_timeout{0};
  /// A time for Connection::close(), which uses it twice. First it bounds the flush: after this time without progress
  /// (between one and two times this time, as for idle_timeout) the connection closes with ETIMEDOUT. After the flush,
  /// close() waits this long for the end of the peer. So close() takes at most three times this time after the last
  /// byte that the peer takes. It never cuts off a peer that goes on taking bytes. Zero means that close() aborts at
  /// once and waits for nothing.
  std::chrono::nanoseconds linger = std::chrono::seconds{5};

  /// @return True if every limit is the same.
  friend bool operator==(const Limits&, const Limits&) = default;
};

/// The options of Context::listen.
struct ONLOOP_API ListenOptions {
  Limits limits{};                         ///< the limits of each accepted connection
  int backlog = 4096;                      ///< listen(2); the kernel cuts it to net.core.somaxconn
  std::size_t max_connections = SIZE_MAX;  ///< open at once; clients beyond that are accepted and closed
  bool reuse_port = false;                 ///< SO_REUSEPORT: several listeners share one port
  bool ipv6_only = true;                   ///< [::] takes no IPv4 clients
  unsigned unix_mode = 0600;               ///< permissions of a UNIX socket's file
  /// Unlinks the file of a UNIX socket if no socket is bound to the file any more. If several processes replace one
  /// file at once, one of them listens; the others get EBUSY or EADDRINUSE. While they do this, they lock
  /// PATH.onloop-replacing with flock(2). Therefore this holds only where flock works, and only among processes that
  /// use this option.
  bool replace_stale = false;
};

/// The options of Context::connect.
struct ONLOOP_API ConnectOptions {
  Limits limits{};  ///< the limits of the connection
  /// After this time the attempt fails with ETIMEDOUT. Zero means as long as the kernel tries.
  ///
  /// A name or `localhost` stands for several addresses, which are tried in turn. Each of them has an equal share of
  /// the time that is left, so that one address without an answer leaves time for the others. If this option is zero,
  /// each address but the last has ten seconds.
  std::chrono::nanoseconds timeout = std::chrono::seconds{30};
};

/// The options of a context. All callbacks run on the context's thread. They may do anything, and may also destroy the
/// context.
struct ONLOOP_API ContextOptions {
  /// Called after Remote::wake(). One call stands for all wakes that came before it.
  std::function<void()> on_wake{};
  /// Called for a later error that belongs to no connection. Examples: no descriptor is left (accepting goes on by
  /// itself later), or the loop can't watch a listener's descriptor. An exception that this function throws is logged
  /// and goes no further. Default: one line on standard error.
  std::function<void(std::error_code, std::string_view what)> on_error{};
  /// Called when a callback has thrown on a foreign loop, because no exception may pass through the loop's C frames.
  /// Default: the connection whose callback has thrown is aborted with ECONNABORTED, and the reason goes to on_error.
  /// If the callback belongs to a timer, a watch or a task, only on_error is called; a repeating timer goes on.
  /// On an owned loop this function is not used: the exception leaves run() or dispatch().
  std::function<void(std::exception_ptr)> on_exception{};
  /// Wraps each batch of the application's callbacks. It must call `batch` exactly once. Use it for a lock or a scope
  /// that the callbacks need, such as Python's GIL or a JavaScript callback scope.
  std::function<void(const std::function<void()>& batch)> around{};
  /// The size of the read buffer in bytes: the most that one on_data gets. A context has one read buffer; a nested
  /// frame takes another one.
  std::size_t read_buffer = 64 * 1024;
  /// The maximum number of threads for Context::run_blocking. Look-ups of names have one thread more when these threads
  /// are busy. Each thread is started when it is first needed. All its signals are blocked except those of its own
  /// faults, such as SIGSEGV.
  unsigned worker_threads = 4;
  /// The number of pieces of work that may wait for a thread.
  std::size_t worker_queue = 1024;
  /// The number of tasks of Remote::post that may wait to run. While this number waits, Remote::post returns false.
  /// Zero, the default, means no limit: if a callback holds up the loop, the posted tasks can take any amount of
  /// memory. Context::post, results of blocking work and Remote::wake are not counted.
  std::size_t max_posted = 0;
};

}  // namespace onloop
