#include "core/process/launch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "core/process/fork_exec.hpp"

namespace onloop::detail {
namespace {

constexpr std::array<const char*, Launch::kStreams> kNames{"standard input", "standard output", "standard error"};

/// Owns a posix_spawn_file_actions_t.
class Actions {
 public:
  Actions() noexcept { posix_spawn_file_actions_init(&actions_); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  ~Actions() { posix_spawn_file_actions_destroy(&actions_); }
  [[nodiscard]] posix_spawn_file_actions_t* get() noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

/// Owns the attributes for posix_spawn: no blocked signals, all signals at their default, and a new session if wanted.
class Attributes {
 public:
  explicit Attributes(bool new_session) noexcept {
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    // This is not sigfillset, which leaves out two signals that glibc keeps for itself. If they are ignored here, they
    // would then be ignored in the child.
    std::memset(&all, 0xff, sizeof all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    const int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (new_session ? POSIX_SPAWN_SETSID : 0);
    posix_spawnattr_setflags(&attributes_, static_cast<short>(flags));
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  [[nodiscard]] const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

/// Pointers to the strings, and a null pointer at the end, as exec needs them.
std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Launch::Launch(const SpawnOptions& options) : options_(options) {
  if (options.arguments.empty() || options.arguments.front().empty()) {
    throw_error(EINVAL, "spawn a child: the first of the arguments must name a program");
  }
  what_ = "spawn " + options.arguments.front();
  check_strings();
  check_identity();
  open_directory();
  open_descriptors();
}

void Launch::check_strings() const {
  for (const std::string& argument : options_.arguments) {
    refuse_zero_byte(argument, "spawn a child: an argument");
  }
  if (options_.argv0) refuse_zero_byte(*options_.argv0, what_ + ": argv0");
  if (!options_.environment) return;
  for (const std::string& entry : *options_.environment) {
    refuse_zero_byte(entry, what_ + ": an environment entry");
    if (entry.find('=') == std::string::npos) {
      throw_error(EINVAL, what_ + ": the environment entry \"" + entry + "\" is no NAME=value");
    }
  }
}

/// Refuses -1 as a user or group. The kernel would leave the user or group unchanged, and the child would keep the
/// rights of the parent by mistake.
void Launch::check_identity() const {
  if (options_.uid == static_cast<uid_t>(-1)) throw_error(EINVAL, what_ + ": -1 is no user");
  if (options_.gid == static_cast<gid_t>(-1)) throw_error(EINVAL, what_ + ": -1 is no group");
}

/// Opens the directory of the child before the start, because an error of posix_spawn does not tell a missing directory
/// from a missing program.
void Launch::open_directory() {
  const std::string& path = options_.directory;
  if (path.empty()) return;
  const std::string what = what_ + " in " + path;
  refuse_zero_byte(path, what_ + ": the directory");
  directory_.reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_ || faccessat(directory_.get(), ".", X_OK, AT_EACCESS) < 0) throw_error(errno, what);
}

/// Checks the numbers of the child's descriptors, and makes copies of the descriptors that the child gets.
void Launch::open_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) throw_error(errno, what_);
  std::vector<PassedDescriptor> passed = options_.descriptors;
  std::sort(passed.begin(), passed.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  for (const PassedDescriptor& each : passed) {
    const std::string what = what_ + ": descriptor " + std::to_string(each.fd) + " as the child's number " +
                             std::to_string(each.number) + ": ";
    if (each.number < static_cast<int>(kStreams)) throw_error(EINVAL, what + "it must be 3 or higher");
    if (each.number < first_free_) throw_error(EINVAL, what + "the number is given twice");
    if (static_cast<rlim_t>(each.number) + 1 >= limit.rlim_cur) {
      throw_error(EINVAL, what + "it is too high for the limit of " + std::to_string(limit.rlim_cur));
    }
    first_free_ = each.number + 1;
  }
  const std::array<const Stdio*, kStreams> streams{&options_.in, &options_.out, &options_.err};
  for (std::size_t i = 0; i < kStreams; ++i) given_.push_back({open_stream(*streams[i], i), static_cast<int>(i)});
  for (const PassedDescriptor& each : passed) {
    given_.push_back({Descriptor(fcntl(each.fd, F_DUPFD_CLOEXEC, first_free_)), each.number});
    if (!given_.back().fd) {
      const int error = errno;
      throw_error(error, what_ + ": descriptor " + std::to_string(each.fd) + " as the child's number " +
                             std::to_string(each.number));
    }
  }
}

/// Moves a descriptor to a number that no descriptor of the child overwrites. The result is empty, with errno set, if
/// there is no such number.
Descriptor Launch::moved_up(Descriptor fd) const noexcept {
  return !fd || fd.get() >= first_free_ ? std::move(fd) : Descriptor(fcntl(fd.get(), F_DUPFD_CLOEXEC, first_free_));
}

/// Opens what the child gets as a standard stream: 0 is its input, 1 its output, 2 its errors.
Descriptor Launch::open_stream(const Stdio& stdio, std::size_t number) {
  const std::string what = what_ + ": " + kNames[number];
  switch (stdio.kind_) {
    case Stdio::Kind::inherit:
      return inherited(static_cast<int>(number));
    case Stdio::Kind::null:
      return null();
    case Stdio::Kind::descriptor: {
      Descriptor copy(fcntl(stdio.fd_, F_DUPFD_CLOEXEC, first_free_));
      if (!copy) throw_error(errno, what + " from descriptor " + std::to_string(stdio.fd_));
      return copy;
    }
    case Stdio::Kind::stream:
      break;
  }
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) < 0) throw_error(errno, what);
  ends_[number] = {.fd = Descriptor(pair[0]), .protocol = stdio.protocol_, .limits = &stdio.limits_, .what = what};
  Descriptor theirs = moved_up(Descriptor(pair[1]));
  if (!theirs) throw_error(errno, what);
  return theirs;
}

/// A copy of a standard stream of this process; /dev/null if this process has none. A descriptor with FD_CLOEXEC is not
/// a standard stream: it is another file that got this number after the stream was closed.
Descriptor Launch::inherited(int number) const {
  const int flags = fcntl(number, F_GETFD);
  if (flags < 0 || (flags & FD_CLOEXEC)) return null();
  Descriptor copy(fcntl(number, F_DUPFD_CLOEXEC, first_free_));
  if (!copy) throw_error(errno, what_);
  return copy;
}

Descriptor Launch::null() const {
  Descriptor null = moved_up(Descriptor(open("/dev/null", O_RDWR | O_CLOEXEC)));
  if (!null) throw_error(errno, what_ + ": open /dev/null");
  return null;
}

pid_t Launch::start() {
  std::vector<char*> arguments = pointers(options_.arguments);
  if (options_.argv0) arguments.front() = const_cast<char*>(options_.argv0->c_str());
  std::vector<char*> own;
  if (options_.environment) own = pointers(*options_.environment);
  char* const* const environment = options_.environment ? own.data() : environ;
  const bool as_another = options_.uid || options_.gid || options_.groups;
  const pid_t pid = as_another ? fork_and_exec(arguments.data(), environment) : spawn(arguments.data(), environment);
  given_.clear();
  directory_.reset();
  return pid;
}

pid_t Launch::spawn(char* const* arguments, char* const* environment) const {
  const auto add = [this](int error) {
    if (error != 0) throw_error(error, what_);
  };
  Actions actions;
  if (directory_) add(posix_spawn_file_actions_addfchdir_np(actions.get(), directory_.get()));
  for (const Given& each : given_) {
    add(posix_spawn_file_actions_adddup2(actions.get(), each.fd.get(), each.number));
  }
  // All other descriptors are closed in the child, also those without FD_CLOEXEC.
  int next = 0;
  for (const Given& each : given_) {
    for (; next < each.number; ++next) add(posix_spawn_file_actions_addclose(actions.get(), next));
    ++next;
  }
  add(posix_spawn_file_actions_addclosefrom_np(actions.get(), first_free_));
  const Attributes attributes(options_.new_session);
  pid_t pid = 0;
  add(posix_spawnp(&pid, options_.arguments.front().c_str(), actions.get(), attributes.get(), arguments, environment));
  return pid;
}

pid_t Launch::fork_and_exec(char* const* arguments, char* const* environment) const {
  static const std::vector<gid_t> none;
  const std::vector<gid_t>* groups = options_.groups ? &*options_.groups : &none;
  // A process that may not change its groups keeps them, if the user and the group stay the same. The child gains no
  // rights by that.
  const bool same = (!options_.uid || *options_.uid == geteuid()) && (!options_.gid || *options_.gid == getegid());
  if (!options_.groups && same && geteuid() != 0) groups = nullptr;
  ForkExec plan{.program = options_.arguments.front(),
                .arguments = arguments,
                .environment = environment,
                .directory = directory_.get(),
                .new_session = options_.new_session,
                .copies = {},
                .first_free = first_free_,
                .uid = options_.uid,
                .gid = options_.gid,
                .groups = groups};
  for (const Given& each : given_) plan.copies.emplace_back(each.fd.get(), each.number);
  return plan.start(what_);
}

}  // namespace onloop::detail
