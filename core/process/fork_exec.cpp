// Starts a program as another user or group. posix_spawn can't do this.
//
// Between fork and exec the child makes system calls only. At the moment of the fork another thread of the parent may
// have held any lock, such as the lock of malloc.
//
// The child is made by fork and not by vfork. A child of vfork shares the memory of its parent, and must not change its
// user: whoever may trace the child could change the parent. The child changes its user with the system call itself and
// not with glibc's function, because that function tries to change the user of all threads of the parent.
#include "core/process/fork_exec.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <onloop/descriptor.hpp>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/base/error.hpp"
#include "core/base/signals_blocked.hpp"

namespace onloop::detail {
namespace {

#ifdef SYS_setresuid32  // on machines where the system calls without this suffix take ids of 16 bits
constexpr long kSetUser = SYS_setresuid32;
constexpr long kSetGroup = SYS_setresgid32;
constexpr long kSetGroups = SYS_setgroups32;
#else
constexpr long kSetUser = SYS_setresuid;
constexpr long kSetGroup = SYS_setresgid;
constexpr long kSetGroups = SYS_setgroups;
#endif

/// What the child does before the program runs; a Failure names the step that failed.
enum class Step : int { prepare, groups, group, user, program };

/// What the child writes into the pipe to its parent if it can't go on.
struct Failure {
  Step step;
  int error;
};

/// What an error message says about the failed step. It is empty where the step adds nothing.
const char* words_for(Step step) noexcept {
  switch (step) {
    case Step::groups:
      return ": set the supplementary groups";
    case Step::group:
      return ": set the group";
    case Step::user:
      return ": set the user";
    case Step::prepare:
    case Step::program:
      break;
  }
  return "";
}

/// The paths under which the program may be, in the order in which they are tried.
std::vector<std::string> places(const std::string& program) {
  if (program.find('/') != std::string::npos) return {program};
  const char* variable = std::getenv("PATH");
  std::string_view path = variable ? variable : "/bin:/usr/bin";
  std::vector<std::string> places;
  for (;;) {
    const std::string_view directory = path.substr(0, path.find(':'));
    places.push_back(directory.empty() ? program : std::string(directory) + "/" + program);
    if (directory.size() == path.size()) return places;
    path.remove_prefix(directory.size() + 1);
  }
}
/// Sets all signals to their default. This includes the signals that glibc keeps for itself. glibc's functions refuse
/// those, so the child uses the system call.
void default_signals() noexcept {
  constexpr std::size_t kKernelSet = 8;
  const std::array<unsigned long, 8> action{};  // a struct sigaction of the kernel: SIG_DFL, no mask
  for (int number = 1; number < NSIG; ++number) {
    (void)syscall(SYS_rt_sigaction, number, action.data(), nullptr, kKernelSet);
  }
}

/// The child between fork and exec. It runs in the forked process and never returns.
class Forked {
 public:
  Forked(const ForkExec& plan, const std::vector<std::string>& programs, int report) noexcept
      : plan_(plan), programs_(programs), report_(report) {}

  [[noreturn]] void run() noexcept {
    default_signals();
    if (plan_.new_session && setsid() < 0) fail(Step::prepare);
    if (plan_.directory >= 0 && fchdir(plan_.directory) < 0) fail(Step::prepare);
    descriptors();
    identity();
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    program();
  }

 private:
  /// Gives the child's descriptors their numbers, and closes all others but the pipe to the parent.
  void descriptors() noexcept {
    for (const auto& [fd, number] : plan_.copies) {
      if (dup2(fd, number) < 0) fail(Step::prepare);
    }
    // The pipe to the parent gets the number after the last one. The exec closes it.
    if (report_ != plan_.first_free) {
      if (dup3(report_, plan_.first_free, O_CLOEXEC) < 0) fail(Step::prepare);
      report_ = plan_.first_free;
    }
    int next = 0;
    for (const auto& [fd, number] : plan_.copies) {
      if (number > next) close_range(static_cast<unsigned>(next), static_cast<unsigned>(number - 1));
      next = number + 1;
    }
    closefrom(plan_.first_free + 1);
  }

  /// Uses the system call where there is one (Linux 5.9), and otherwise closes one descriptor after the other.
  static void close_range(unsigned first, unsigned last) noexcept {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, last, 0) == 0) return;
#endif
    for (unsigned fd = first; fd <= last; ++fd) ::close(static_cast<int>(fd));
  }

  /// Changes the groups first and the user last, because the new user may not be allowed to change groups.
  void identity() noexcept {
    if (plan_.groups && syscall(kSetGroups, plan_.groups->size(), plan_.groups->data()) < 0) fail(Step::groups);
    if (plan_.gid && syscall(kSetGroup, *plan_.gid, *plan_.gid, *plan_.gid) < 0) fail(Step::group);
    if (plan_.uid && syscall(kSetUser, *plan_.uid, *plan_.uid, *plan_.uid) < 0) fail(Step::user);
  }

  /// Runs the program. It tries the paths as posix_spawnp does.
  [[noreturn]] void program() noexcept {
    bool forbidden = false;
    for (const std::string& each : programs_) {
      execve(each.c_str(), plan_.arguments, plan_.environment);
      if (errno == EACCES) {
        forbidden = true;
      } else if (errno != ENOENT && errno != ESTALE && errno != ENOTDIR && errno != ENODEV && errno != ETIMEDOUT) {
        fail(Step::program);
      }
    }
    if (forbidden) errno = EACCES;
    fail(Step::program);
  }

  /// Tells the parent which step failed and why (errno), and ends the child.
  [[noreturn]] void fail(Step step) const noexcept {
    const Failure failure{step, errno};
    while (write(report_, &failure, sizeof failure) < 0 && errno == EINTR) {
    }
    _exit(127);
  }

  const ForkExec& plan_;
  const std::vector<std::string>& programs_;
  int report_;  // the writing end of the pipe to the parent
};

}  // namespace

pid_t ForkExec::start(const std::string& what) const {
  const std::vector<std::string> programs = places(program);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) < 0) throw_error(errno, what);
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  if (writing.get() < first_free) writing.reset(fcntl(writing.get(), F_DUPFD_CLOEXEC, first_free));
  if (!writing) throw_error(errno, what);
  pid_t pid = 0;
  {
    const SignalsBlocked blocked(
        SignalsBlocked::Faults::blocked);  // a signal handler of the parent must not run in the child
    pid = _Fork();  // this runs no pthread_atfork handlers, which are for children that do not exec
    if (pid == 0) Forked(*this, programs, writing.get()).run();
    if (pid < 0) throw_error(errno, what);
  }
  writing.reset();
  Failure failure{};
  ssize_t size = 0;
  while ((size = read(reading.get(), &failure, sizeof failure)) < 0 && errno == EINTR) {
  }
  if (size != static_cast<ssize_t>(sizeof failure)) return pid;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw_error(failure.error, what + words_for(failure.step));
}

}  // namespace onloop::detail
