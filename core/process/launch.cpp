#include "core/process/launch.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/runtime/error.hpp"

namespace onloop::detail {
namespace {

constexpr int kFirstOther = STDERR_FILENO + 1;
constexpr std::array<const char*, Launch::kStreams> kNames{"standard input", "standard output", "standard error"};

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

class Attributes {
 public:
  explicit Attributes(bool new_session) noexcept {
    posix_spawnattr_init(&attributes_);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    std::memset(&all, 0xff, sizeof all);  // sigfillset leaves out two of glibc's, which would reach the child ignored
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

/// Ends with a null pointer, as exec wants it.
std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool has_zero(const std::string& text) noexcept {
  return text.find('\0') != std::string::npos;
}

/// A number at which the child's own standard streams do not overwrite it; empty with errno set if there is none.
UniqueFd moved_up(UniqueFd fd) noexcept {
  return !fd || fd.get() >= kFirstOther ? std::move(fd) : UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstOther));
}

}  // namespace

Launch::Launch(const SpawnOptions& options) : options_(options) {
  if (options.arguments.empty() || options.arguments.front().empty()) {
    throw_error(EINVAL, "spawn a child: the first of the arguments must name a program");
  }
  what_ = "spawn " + options.arguments.front();
  for (const std::string& argument : options.arguments) {
    if (has_zero(argument)) throw_error(EINVAL, "spawn a child: an argument has a zero byte in it");
  }
  if (options.environment) {
    for (const std::string& entry : *options.environment) {
      if (has_zero(entry)) throw_error(EINVAL, what_ + ": an environment entry has a zero byte in it");
      if (entry.find('=') == std::string::npos) {
        throw_error(EINVAL, what_ + ": the environment entry \"" + entry + "\" is no NAME=value");
      }
    }
  }
  open_directory();
  const std::array<const Stdio*, kStreams> streams{&options.in, &options.out, &options.err};
  for (std::size_t i = 0; i < kStreams; ++i) streams_[i] = open_stream(*streams[i], i);
}

/// Beforehand, since posix_spawn does not tell a missing directory from a missing program.
void Launch::open_directory() {
  const std::string& path = options_.directory;
  if (path.empty()) return;
  const std::string what = what_ + " in " + path;
  if (has_zero(path)) throw_error(EINVAL, what_ + ": the directory has a zero byte in it");
  directory_.reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_ || faccessat(directory_.get(), ".", X_OK, AT_EACCESS) < 0) throw_error(errno, what);
}

UniqueFd Launch::open_stream(const Stdio& stdio, std::size_t number) {
  const std::string what = what_ + ": " + kNames[number];
  switch (stdio.kind_) {
    case Stdio::Kind::inherit:
      return inherited(static_cast<int>(number));
    case Stdio::Kind::null:
      return null();
    case Stdio::Kind::descriptor: {
      UniqueFd copy(fcntl(stdio.fd_, F_DUPFD_CLOEXEC, kFirstOther));
      if (!copy) throw_error(errno, what + " from descriptor " + std::to_string(stdio.fd_));
      return copy;
    }
    case Stdio::Kind::stream:
      break;
  }
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) < 0) throw_error(errno, what);
  ends_[number] = {.fd = UniqueFd(pair[0]), .protocol = stdio.protocol_, .limits = &stdio.limits_, .what = what};
  UniqueFd theirs = moved_up(UniqueFd(pair[1]));
  if (!theirs) throw_error(errno, what);
  return theirs;
}

/// What has FD_CLOEXEC is no standard stream, but something else that came to such a number when the stream was closed.
UniqueFd Launch::inherited(int number) const {
  const int flags = fcntl(number, F_GETFD);
  if (flags < 0 || (flags & FD_CLOEXEC)) return null();
  UniqueFd copy(fcntl(number, F_DUPFD_CLOEXEC, kFirstOther));
  if (!copy) throw_error(errno, what_);
  return copy;
}

UniqueFd Launch::null() const {
  UniqueFd null = moved_up(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)));
  if (!null) throw_error(errno, what_ + ": open /dev/null");
  return null;
}

pid_t Launch::start() {
  const auto add = [this](int error) {
    if (error != 0) throw_error(error, what_);
  };
  Actions actions;
  if (directory_) add(posix_spawn_file_actions_addfchdir_np(actions.get(), directory_.get()));
  for (std::size_t i = 0; i < kStreams; ++i) {
    add(posix_spawn_file_actions_adddup2(actions.get(), streams_[i].get(), static_cast<int>(i)));
  }
  add(posix_spawn_file_actions_addclosefrom_np(actions.get(), kFirstOther));  // also those without FD_CLOEXEC
  const Attributes attributes(options_.new_session);
  const std::vector<char*> arguments = pointers(options_.arguments);
  std::vector<char*> environment;
  if (options_.environment) environment = pointers(*options_.environment);
  pid_t pid = 0;
  add(posix_spawnp(&pid, arguments.front(), actions.get(), attributes.get(), arguments.data(),
                   options_.environment ? environment.data() : environ));
  for (UniqueFd& stream : streams_) stream.reset();
  directory_.reset();
  return pid;
}

}  // namespace onloop::detail
