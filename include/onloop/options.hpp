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

/// What bounds one connection.
struct ONLOOP_API Limits {
  /// Bytes queued for a slow reader above which write() returns Flow::wait, and below or at which on_drain comes.
  /// low_water is at most high_water, high_water at most max_queued; else the call that takes them throws EINVAL.
  std::size_t high_water = 64 * 1024;
  std::size_t low_water = 16 * 1024;
  /// Queued bytes beyond which the connection is aborted with ENOBUFS.
  std::size_t max_queued = std::size_t{64} * 1024 * 1024;
  /// Above high_water, stop reading from this peer until low_water, so that what it makes us send stays bounded. Leave
  /// it off where both sides may write much at once: if each stops reading until the other has read, both wait for
  /// ever. A protocol that answers what it reads pauses by itself, as Echo does: pause_reading() after Flow::wait, and
  /// resume_reading() in on_drain.
  bool pause_reading_when_full = false;
  /// Closes with ETIMEDOUT after so long without progress, reading paused or not. Progress is a byte that was read, or
  /// one that the peer has taken (SIOCOUTQ). Zero: never.
  std::chrono::nanoseconds idle_timeout{0};
  /// close(): how long without progress a flush may take (then ETIMEDOUT), and how long afterwards the peer's end is
  /// waited for. Zero: abort at once instead of waiting.
  std::chrono::nanoseconds linger = std::chrono::seconds{5};

  friend bool operator==(const Limits&, const Limits&) = default;
};

struct ONLOOP_API ListenOptions {
  Limits limits{};                         ///< of each accepted connection
  int backlog = 4096;                      ///< listen(2); the kernel cuts it to net.core.somaxconn
  std::size_t max_connections = SIZE_MAX;  ///< open at once; those beyond are accepted and closed
  bool reuse_port = false;                 ///< SO_REUSEPORT: several listeners share one port
  bool ipv6_only = true;                   ///< [::] takes no IPv4 clients
  unsigned unix_mode = 0600;               ///< permissions of a UNIX socket's file
  /// Unlinks a UNIX socket's file to which no socket is bound any more. Of several processes that replace one file at
  /// once, one listens; the others get EBUSY or EADDRINUSE. For so long they lock PATH.onloop-replacing with flock(2),
  /// so this holds where flock works, and among processes that replace it so.
  bool replace_stale = false;
};

struct ONLOOP_API ConnectOptions {
  Limits limits{};
  /// Then ETIMEDOUT; zero: as long as the kernel tries. A name or `localhost` stands for several addresses, which are
  /// tried in turn: while others remain, one has its share of the time that is left, or ten seconds where this is zero.
  std::chrono::nanoseconds timeout = std::chrono::seconds{30};
};

/// All callbacks run on the context's thread and may do anything, destroy the context included.
struct ONLOOP_API ContextOptions {
  /// After Remote::wake(), once for any number of them.
  std::function<void()> on_wake{};
  /// A later error that belongs to no connection: out of descriptors (accepting goes on by itself), a listener whose
  /// descriptor can't be watched. What it throws is logged and goes no further. Default: one line on standard error.
  std::function<void(std::error_code, std::string_view what)> on_error{};
  /// A callback threw on a foreign loop, through whose C frames no exception may pass. Default: the connection whose
  /// callback it was is aborted with ECONNABORTED, and the reason goes to on_error. On an owned loop this is not used:
  /// the exception leaves run() or dispatch().
  std::function<void(std::exception_ptr)> on_exception{};
  /// Wraps each batch of user callbacks; must call `batch` exactly once. For what has to be held or entered around
  /// callbacks: Python's GIL, a JavaScript callback scope.
  std::function<void(const std::function<void()>& batch)> around{};
  /// Bytes of the read buffer: the most that one on_data gets. A context has one; a nested frame takes another.
  std::size_t read_buffer = 64 * 1024;
  /// Threads for Context::run_blocking, at most; look-ups of names have one more when these are busy; each is started
  /// when it is first needed, with all signals blocked but those of its own faults: SIGSEGV and the like.
  unsigned worker_threads = 4;
  /// Pieces of work that may wait for one of them.
  std::size_t worker_queue = 1024;
  /// Tasks of Remote::post that may wait to be run; while so many do, it returns false. Zero, the default, is no limit:
  /// then a loop that is held up by one of its callbacks takes what memory the posts need. Context::post, results of
  /// blocking work and Remote::wake are not counted.
  std::size_t max_posted = 0;
};

}  // namespace onloop
