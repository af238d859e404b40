#include "conformance/process_state.hpp"

#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <thread>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ONLOOP_TEST_UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define ONLOOP_TEST_UNDER_TSAN 1
#endif

namespace onloop::test {
namespace {

// ThreadSanitizer has a thread of its own. It may start as late as the first thread of the program.
void start_sanitizer_threads() {
#ifdef ONLOOP_TEST_UNDER_TSAN
  static const bool started = [] {
    std::thread{[] {}}.join();
    return true;
  }();
  static_cast<void>(started);
#endif
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

template <class Visit>
void for_each_entry(const char* path, Visit visit) {
  const Directory directory{::opendir(path)};
  if (!directory) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (entry->d_name[0] != '.') visit(entry->d_name, ::dirfd(directory.get()));
  }
}

std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> found;
  for_each_entry("/proc/self/fd", [&found](const char* name, int directory) {
    const int fd = ::atoi(name);
    if (fd == directory) return;
    std::array<char, 256> target{};
    const ssize_t length = ::readlinkat(directory, name, target.data(), target.size());
    found[fd] = length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : "?";
  });
  return found;
}

std::size_t count_threads() {
  std::size_t count = 0;
  for_each_entry("/proc/self/task", [&count](const char*, int) { ++count; });
  return count;
}

// This looks without reaping. A zombie that the code under test leaves must be found, not removed.
bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT) == 0;
}

// The umask is read from /proc. umask(2) can read it only by changing it, and another thread could see that.
std::string current_umask() {
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.compare(0, 6, "Umask:") == 0) return line;
  }
  return {};
}

// glibc adds SA_RESTORER by itself to each action that it sets.
bool same_handler(const struct sigaction& one, const struct sigaction& other) {
  constexpr unsigned kRestorer = 0x04000000;
  const unsigned flags = static_cast<unsigned>(one.sa_flags) ^ static_cast<unsigned>(other.sa_flags);
  return one.sa_handler == other.sa_handler && (flags & ~kRestorer) == 0;
}

}  // namespace

ProcessState ProcessState::take() {
  start_sanitizer_threads();
  ProcessState state;
  state.descriptors_ = open_descriptors();
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) == 0) state.handlers_[number] = action;
  }
  ::pthread_sigmask(SIG_SETMASK, nullptr, &state.mask_);
  state.threads_ = count_threads();
  state.children_ = has_children();
  state.umask_ = current_umask();
  return state;
}

// pthread_join returns before the kernel has taken the thread out of /proc/self/task.
ProcessState ProcessState::take_when_settled(const ProcessState& earlier) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{2};
  while (count_threads() != earlier.threads_ && std::chrono::steady_clock::now() < limit) ::sched_yield();
  return take();
}

std::string ProcessState::difference_to(const ProcessState& later) const {
  std::string text;
  for (const auto& [fd, target] : later.descriptors_) {
    const auto before = descriptors_.find(fd);
    if (before == descriptors_.end()) {
      text += "descriptor " + std::to_string(fd) + " (" + target + ") was left open\n";
    } else if (before->second != target) {
      text += "descriptor " + std::to_string(fd) + " was " + before->second + " and is " + target + "\n";
    }
  }
  for (const auto& [fd, target] : descriptors_) {
    if (later.descriptors_.count(fd) == 0) {
      text += "descriptor " + std::to_string(fd) + " (" + target + ") was closed\n";
    }
  }
  if (threads_ != later.threads_) {
    text += "threads: " + std::to_string(threads_) + " before, " + std::to_string(later.threads_) + " after\n";
  }
  if (!children_ && later.children_) text += "a child process is left\n";
  for (const auto& [number, action] : handlers_) {
    const auto after = later.handlers_.find(number);
    if (after == later.handlers_.end() || !same_handler(action, after->second)) {
      text += std::string{"the handler of signal "} + std::to_string(number) + " (" + ::strsignal(number) +
              ") was changed\n";
    }
  }
  for (int number = 1; number <= SIGRTMAX; ++number) {
    if (::sigismember(&mask_, number) != ::sigismember(&later.mask_, number)) {
      text += "signal " + std::to_string(number) + " was " +
              (::sigismember(&later.mask_, number) == 1 ? "blocked" : "unblocked") + "\n";
    }
  }
  if (umask_ != later.umask_) text += umask_ + " before, " + later.umask_ + " after\n";
  return text;
}

}  // namespace onloop::test
