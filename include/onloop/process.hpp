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

/// What one of a child's three standard streams is.
class ONLOOP_API Stdio {
 public:
  /// The parent's own; /dev/null if the parent has none: closed, or a descriptor with FD_CLOEXEC under that number.
  static Stdio inherit() noexcept { return Stdio(Kind::inherit); }
  static Stdio null() noexcept { return Stdio(Kind::null); }  ///< /dev/null
  /// `fd`, whatever its flags; it stays the caller's.
  static Stdio descriptor(int fd) noexcept { return Stdio(Kind::descriptor, fd); }
  /// A Connection in the context, with `protocol`, as from Context::adopt; on the child's side it is a socket, one of a
  /// connected pair. So it is read and written as a pipe is, but a program that opens /dev/stdin or /dev/stdout by its
  /// path gets ENXIO.
  ///
  /// Standard input: shutdown_write() gives the child its end of file. Bytes that it has not read when it ends are
  /// lost: on_close gets ECONNRESET or EPIPE. Standard output and error: for reading only, write() returns
  /// Flow::closed. While reading is paused, a child that writes on has to wait; after abort() it gets SIGPIPE, EPIPE or
  /// ECONNRESET. What the child starts itself may hold its streams open after it has ended.
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

/// A descriptor that a child gets beside its standard streams.
struct ONLOOP_API PassedDescriptor {
  int fd = -1;      ///< the parent's, whatever its flags; it stays the caller's
  int number = -1;  ///< what it is in the child: 3 or higher
};

/// What Context::spawn starts. The child has no other descriptors of the parent's than its three standard streams and
/// `descriptors`, no signal blocked and each at its default.
struct ONLOOP_API SpawnOptions {
  /// The first is the program: looked up in the parent's PATH if it has no slash; a relative path is relative to
  /// `directory`.
  std::vector<std::string> arguments;
  /// "NAME=value" each, instead of the parent's environment.
  std::optional<std::vector<std::string>> environment = std::nullopt;
  /// Where it starts; empty: where the parent is.
  std::string directory = {};
  Stdio in = Stdio::inherit();
  Stdio out = Stdio::inherit();
  Stdio err = Stdio::inherit();
  /// A session and a process group of its own: signals of the parent's terminal do not reach it.
  bool new_session = false;
  /// Further descriptors. Each number may be given once. Numbers of the parent's do not matter: they may be swapped.
  std::vector<PassedDescriptor> descriptors = {};
  /// What the program is told as argv[0], instead of the first of `arguments`.
  std::optional<std::string> argv0 = std::nullopt;
  /// The user and the group that the child runs as: real, effective and saved. One that is not given stays as it is, so
  /// a change of the user alone keeps the parent's group. The directory is entered before, with the parent's rights;
  /// the program is looked up and executed with the child's. The child is made by fork, which copies the page tables.
  std::optional<uid_t> uid = std::nullopt;
  std::optional<gid_t> gid = std::nullopt;
  /// Its supplementary groups. Not given: none if `uid` or `gid` is given, else the parent's.
  std::optional<std::vector<gid_t>> groups = std::nullopt;
};

/// How a child has ended. As it is made: nobody knows.
struct ONLOOP_API ExitStatus {
  int code = -1;   ///< what it returned, 0 to 255; -1 if it did not
  int signal = 0;  ///< which killed it; 0: none
  bool core_dumped = false;

  /// False: it is over, but its status went to somebody else. The application waited for any child (waitpid(-1)), or
  /// ignores SIGCHLD.
  [[nodiscard]] bool known() const noexcept { return code >= 0 || signal != 0; }
  [[nodiscard]] bool success() const noexcept { return code == 0; }
  /// "exited with status 1", "killed by signal 11 (Segmentation fault), core dumped", "ended in an unknown way"
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// A child of this process (Context::spawn). Destroying the handle ends the watch, so that on_exit does not come, and
/// nothing else: the child goes on, and the context reaps it. Inert after its context. For the context's thread. May be
/// destroyed in any callback, that of its exit included.
class [[nodiscard]] ONLOOP_API Process {
 public:
  Process() noexcept = default;

  /// 0 for a handle without a child. The kernel may give the number to another process once running() is false.
  [[nodiscard]] pid_t pid() const noexcept;
  /// True until on_exit is called, or would be. In a forked child of the application: false.
  [[nodiscard]] bool running() const noexcept;
  /// Sends a signal to this child and to no other process; nothing if it does not run. Throws std::system_error:
  /// EINVAL for no signal, EPERM for a child that has another user's rights now.
  void kill(int signal);

  /// The parent's ends of the standard streams, where they are Stdio::stream. Null once on_close has come, and for
  /// others.
  [[nodiscard]] Connection* in() const noexcept;
  [[nodiscard]] Connection* out() const noexcept;
  [[nodiscard]] Connection* err() const noexcept;

 private:
  friend class Context;
  explicit Process(detail::HandleTo<detail::Child> child) noexcept : child_(std::move(child)) {}
  detail::HandleTo<detail::Child> child_;
};

}  // namespace onloop
