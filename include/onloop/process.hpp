#pragma once
#include <onloop/export.h>
#include <sys/types.h>
#include <onloop/detail/retire.hpp>
#include <onloop/options.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace onloop {

class Connection;
class Protocol;
namespace detail {
class Launch;
}  // namespace detail

/// What the child gets as one of its three standard streams.
class ONLOOP_API Stdio {
 public:
  /// The parent's own stream. It is /dev/null if the parent has no such stream: the number is closed, or its descriptor
  /// has FD_CLOEXEC.
  static Stdio inherit() noexcept { return Stdio(Kind::inherit); }
  static Stdio null() noexcept { return Stdio(Kind::null); }  ///< /dev/null
  /// The descriptor `fd`, whatever its flags are. The caller keeps the ownership of it.
  static Stdio descriptor(int fd) noexcept { return Stdio(Kind::descriptor, fd); }
  /// A Connection in the context, with `protocol`, as from Context::adopt. On the child's side the stream is a socket,
  /// one of a connected pair. The child reads and writes it in the same way as a pipe. But a program that opens
  /// /dev/stdin or /dev/stdout by its path gets ENXIO.
  ///
  /// Standard input: shutdown_write() gives the child its end of file. Bytes that the child has not read when it ends
  /// are lost; on_close then gets ECONNRESET or EPIPE.
  ///
  /// Standard output and error: these connections are for reading only, and write() returns Flow::closed. While reading
  /// is paused, a child that goes on writing has to wait. After abort() the child gets SIGPIPE, EPIPE or ECONNRESET.
  /// Processes that the child starts may hold its streams open after the child has ended.
  static Stdio stream(Protocol& protocol, Limits limits = {}) noexcept {
    Stdio stdio(Kind::stream);
    stdio.protocol_ = &protocol;
    stdio.limits_ = limits;
    return stdio;
  }

 private:
  friend class detail::Launch;
  enum class Kind { inherit, null, descriptor, stream };
  explicit Stdio(Kind kind, int fd = -1) noexcept : kind_(kind), fd_(fd) {}
  Kind kind_;
  int fd_;
  Protocol* protocol_ = nullptr;
  Limits limits_;
};

/// A descriptor that a child gets in addition to its standard streams.
struct ONLOOP_API PassedDescriptor {
  int fd = -1;      ///< the parent's descriptor, whatever its flags are; the caller keeps the ownership
  int number = -1;  ///< its number in the child: 3 or higher
};

/// What Context::spawn starts. Of the parent's descriptors the child has only its three standard streams and
/// `descriptors`. In the child no signal is blocked, and each signal has its default action.
struct ONLOOP_API SpawnOptions {
  /// The arguments. The first one is the program. If it has no slash, it is looked up in the parent's PATH. A relative
  /// path is relative to `directory`.
  std::vector<std::string> arguments;
  /// The environment of the child, "NAME=value" each. If it is not given, the child has the parent's environment.
  std::optional<std::vector<std::string>> environment = std::nullopt;
  /// The directory in which the child starts. Empty means the parent's directory.
  std::string directory = {};
  Stdio in = Stdio::inherit();   ///< standard input, descriptor 0 of the child
  Stdio out = Stdio::inherit();  ///< standard output, descriptor 1 of the child
  Stdio err = Stdio::inherit();  ///< standard error, descriptor 2 of the child
  /// If true, the child has a session and a process group of its own. Signals of the parent's terminal then do not
  /// reach it.
  bool new_session = false;
  /// Further descriptors. Each number may be given once. The numbers may be those of the parent's own descriptors:
  /// descriptors may also be swapped.
  std::vector<PassedDescriptor> descriptors = {};
  /// What the program gets as argv[0], instead of the first of `arguments`.
  std::optional<std::string> argv0 = std::nullopt;
  /// The user and the group that the child runs as: real, effective and saved. A value that is not given stays as it
  /// is, so a change of the user alone keeps the parent's group. The directory is entered before the change, with the
  /// parent's rights. The program is looked up and executed with the child's rights. For this change the child is made
  /// by fork, which copies the page tables.
  std::optional<uid_t> uid = std::nullopt;
  std::optional<gid_t> gid = std::nullopt;  ///< see uid
  /// The supplementary groups of the child. If they are not given, the child has none if `uid` or `gid` is given, and
  /// otherwise the parent's.
  std::optional<std::vector<gid_t>> groups = std::nullopt;
};

/// How a child has ended. The status is unknown in an object that is made by default.
struct ONLOOP_API ExitStatus {
  int code = -1;             ///< the exit status, 0 to 255; -1 if the child did not exit by itself
  int signal = 0;            ///< the signal that killed the child; 0: none
  bool core_dumped = false;  ///< whether the signal made the kernel write a core dump

  /// @return False if the child has ended but its status went to other code. The application has waited for any child
  /// (waitpid(-1)), or ignores SIGCHLD.
  [[nodiscard]] bool known() const noexcept { return code >= 0 || signal != 0; }
  /// @return True if the child has exited by itself with status 0.
  [[nodiscard]] bool success() const noexcept { return code == 0; }
  /// @return A text such as "exited with status 1", "killed by signal 11 (Segmentation fault), core dumped" or "ended
  /// in an unknown way".
  [[nodiscard]] std::string to_string() const;

  /// @return True if both children have ended in the same way.
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// A child of this process (Context::spawn).
///
/// Ownership: destroying the handle ends the watch, and on_exit does not come. It does nothing else: the child goes on,
/// and the context reaps it. After its context has gone, the handle has no effect.
///
/// Thread: the context's. The handle may be destroyed in any callback, also in on_exit.
class [[nodiscard]] ONLOOP_API Process {
 public:
  /// A handle without a child.
  Process() noexcept = default;

  /// @return The process number of the child, or 0 for a handle without a child. Once running() is false, the kernel
  /// may give the number to another process.
  [[nodiscard]] pid_t pid() const noexcept;
  /// @return True until on_exit is called. If there is no on_exit, true until the moment at which it would be called.
  /// In a forked child of the application, false.
  [[nodiscard]] bool running() const noexcept;
  /// Sends a signal to this child, and to no other process. If the child does not run, this does nothing.
  /// @throws std::system_error with EINVAL if `signal` is no signal, and with EPERM if the child has another user's
  /// rights now.
  void kill(int signal);

  /// @return The parent's end of a standard stream that is Stdio::stream. It is null once on_close has come, and for
  /// any other kind of stream.
  [[nodiscard]] Connection* in() const noexcept;
  [[nodiscard]] Connection* out() const noexcept;  ///< The same as in(), for the standard output.
  [[nodiscard]] Connection* err() const noexcept;  ///< The same as in(), for the standard error.

 private:
  friend class Context;
  explicit Process(detail::HandleTo<detail::Child> child) noexcept : child_(std::move(child)) {}
  detail::HandleTo<detail::Child> child_;
};

}  // namespace onloop
