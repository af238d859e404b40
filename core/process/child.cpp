#include "core/process/child.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/net.hpp"
#include "core/net/stream.hpp"
#include "core/process/children.hpp"
#include "core/process/pidfd.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {
namespace {

ExitStatus status_of(const siginfo_t& info) noexcept {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status};
  return {.signal = info.si_status, .core_dumped = info.si_code == CLD_DUMPED};
}

/// Kills and reaps a child process that can't be watched, so that nothing of it stays. If this process may not kill the
/// child, it does not wait for it.
void undo(pid_t pid) noexcept {
  if (::kill(pid, SIGKILL) < 0) return;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

Child::Child(Children& children, Function<void(ExitStatus)> on_exit)
    : Source(children.runtime()), children_(children), on_exit_(std::move(on_exit)) {
  children_.add(*this);
}

void Child::start(Launch& launch) try {
  for (std::size_t i = 0; i < Launch::kStreams; ++i) {
    Launch::End& end = launch.ends()[i];
    if (!end.fd) continue;
    Stream& stream = adopt(Net::of(*runtime()), end.fd.get(), *end.protocol, *end.limits, end.what);
    (void)end.fd.release();
    streams_[i] = stream.ref();
    if (i != STDIN_FILENO) stream.end_writing();
  }
  pid_ = launch.start();
  watch(launch.what());
} catch (...) {
  for (const Ref& stream : streams_) {
    if (Connection* made = stream.get()) static_cast<Stream*>(made)->sever();
  }
  leave();
  throw;
}

/// Watches the pidfd of the child process. ESRCH from the kernel means that the process is over, and that somebody else
/// has reaped it. Then on_exit is called later, from on_deferred().
void Child::watch(const std::string& what) {
  Descriptor pidfd = open_pidfd(pid_);
  if (!pidfd && errno == ESRCH) {
    runtime()->defer(*this);
    return;
  }
  try {
    if (!pidfd) throw_error(errno, what + ": watch the process");
    runtime()->sources().watch(*this, pidfd.get(), ONLOOP_READ, what + ": watch the process");
  } catch (...) {
    undo(pid_);
    throw;
  }
  (void)pidfd.release();
}

/// The pidfd is readable. The loop may call this although the process has not ended; then nothing happens.
void Child::on_ready(std::uint32_t) {
  siginfo_t info{};
  if (waitid(P_PIDFD, static_cast<id_t>(fd()), &info, WEXITED | WNOHANG) < 0) {
    end({});  // ECHILD: other code has reaped the process, so its status is unknown
  } else if (info.si_pid != 0) {
    end(status_of(info));
  }
}

void Child::on_deferred() {
  end({});
}

/// The process has ended: leaves the context, and calls on_exit.
void Child::end(ExitStatus status) {
  auto on_exit = std::exchange(on_exit_, nullptr);
  leave();
  if (on_exit) on_exit(status);
}

/// Ends the watch, closes the pidfd and takes the child out of its context.
void Child::leave() noexcept {
  const auto dropped = std::exchange(on_exit_, nullptr);  // destroyed last, because it may own the Process
  {
    const Descriptor pidfd(fd());
    runtime()->sources().unwatch(*this);
  }
  children_.remove(*this);
  cut_off();
  drop();
}

void Child::sever() noexcept {
  if (runtime()) leave();
}

void Child::cancel() noexcept {
  if (runtime()) runtime()->check_thread_or_die();
  const auto dropped = std::exchange(on_exit_, nullptr);
}

bool Child::running() const noexcept {
  return runtime() && !runtime()->forked();
}

void Child::kill(int signal) {
  if (!running()) return;
  runtime()->check_thread();
  if (fd() >= 0 && send_signal(fd(), signal) < 0 && errno != ESRCH) {
    throw_error(errno, "send signal " + std::to_string(signal) + " to process " + std::to_string(pid_));
  }
}

bool Child::kill_now() const noexcept {
  return fd() >= 0 && send_signal(fd(), SIGKILL) == 0;
}

/// It waits with poll(2), because a shim may have made the pidfd non-blocking.
void Child::reap() const noexcept {
  pollfd ended{.fd = fd(), .events = POLLIN, .revents = 0};
  while (poll(&ended, 1, -1) < 0 && errno == EINTR) {
  }
  siginfo_t info{};
  (void)waitid(P_PIDFD, static_cast<id_t>(fd()), &info, WEXITED | WNOHANG);
}

}  // namespace onloop::detail
