// The functions of Context: they check the arguments and the thread, and pass the call on to Runtime.
#include <sys/epoll.h>
#include <sys/stat.h>
#include <onloop/context.hpp>
#include <onloop/descriptor.hpp>

#include <cerrno>
#include <memory>
#include <string>

#include "core/base/clock.hpp"
#include "core/base/error.hpp"
#include "core/runtime/raw_watch.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/signal_entry.hpp"
#include "core/runtime/timer_entry.hpp"

namespace onloop {

using detail::throw_error;

detail::Runtime& detail::runtime_of(Context& context) noexcept {
  return *context.runtime_;
}

namespace {

/// True for files, directories and devices. Nobody can wait for most of them, since they are always ready. But some can
/// be waited for, such as /proc/self/mounts and terminals.
bool is_perhaps_always_ready(const struct stat& status) noexcept {
  return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
}

/// Throws std::system_error (EPERM) if nobody can wait for the descriptor. It asks epoll, because poll(2) only says
/// that such a descriptor is ready.
void refuse_if_always_ready(int fd, const std::string& what) {
  const Descriptor set(epoll_create1(EPOLL_CLOEXEC));
  if (!set) throw_error(errno, what);
  epoll_event none{};
  if (epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &none) == 0) return;
  throw_error(errno, errno == EPERM
                         ? what + ": it is always ready, as a regular file is, and can't be watched; use it directly"
                         : what);
}

/// Makes a counted object and the handle that owns it.
template <class T, class... Arguments>
detail::HandleTo<T> new_entry(Arguments&&... arguments) {
  return detail::HandleTo<T>(detail::make_held<T>(std::forward<Arguments>(arguments)...).release());
}

}  // namespace

Context::Context(Loop loop, ContextOptions options) {
  if (options.read_buffer == 0) throw_error(EINVAL, "make a context: ContextOptions::read_buffer must be at least 1");
  if (options.worker_threads == 0)
    throw_error(EINVAL, "make a context: ContextOptions::worker_threads must be at least 1");
  runtime_ = detail::make_held<detail::Runtime>(*this, loop, std::move(options)).release();
}

Context::~Context() {
  runtime_->shutdown();
  detail::Held<detail::Runtime>::drop(runtime_);  // frames on the stack that use it may still own it
}

Watch Context::watch(int fd, Interest interest, Function<void(Interest)> callback) {
  runtime_->check_thread();
  const std::string what = "watch descriptor " + std::to_string(fd);
  if (!callback) throw_error(EINVAL, what + ": the callback is empty");
  struct stat status {};
  if (fstat(fd, &status) < 0) throw_error(errno, what);
  if (is_perhaps_always_ready(status)) refuse_if_always_ready(fd, what);
  detail::HandleTo<detail::RawWatch> watch(new detail::RawWatch(*runtime_, std::move(callback)));
  watch->start(fd, status, interest, what);
  return Watch(std::move(watch));
}

Timer Context::timer(std::chrono::nanoseconds delay, Task task) {
  runtime_->check_thread();
  if (!task) return {};
  Timer timer(new_entry<detail::TimerEntry>(*runtime_, std::move(task), std::uint64_t{0}));
  timer.entry_->start(detail::later(detail::now_ns(), delay));
  return timer;
}

Timer Context::every(std::chrono::nanoseconds period, Function<void()> callback) {
  runtime_->check_thread();
  if (period.count() <= 0) throw_error(EINVAL, "set a repeating timer: the period must be above zero");
  if (!callback) return {};
  Timer timer(
      new_entry<detail::TimerEntry>(*runtime_, std::move(callback), static_cast<std::uint64_t>(period.count())));
  timer.entry_->start(detail::later(detail::now_ns(), period));
  return timer;
}

Signal Context::on_signal(int number, Function<void()> callback) {
  runtime_->check_thread();
  if (!callback) return {};
  return Signal(new_entry<detail::SignalEntry>(*runtime_, number, std::move(callback)));
}

void Context::post(Task task) {
  runtime_->check_thread();
  runtime_->post(std::move(task));
}

Remote Context::remote() const {
  return Remote(runtime_->mailbox());
}

void Context::run() {
  runtime_->run();
}

void Context::stop() {
  runtime_->check_thread();
  runtime_->stop();
}

void Context::set_keepalive(bool on) {
  runtime_->check_thread();
  runtime_->set_keepalive(on);
}

int Context::pollable_fd() {
  runtime_->check_thread();
  return runtime_->fd();
}

void Context::dispatch() {
  runtime_->dispatch();
}

void Context::release_thread() {
  runtime_->check_thread();
  runtime_->release_thread();
}

bool Context::move_to(Loop loop) {
  return runtime_->move_to(loop);
}

void Context::after_fork(Loop loop) {
  runtime_->after_fork(loop);
}

const Loop& Context::loop() const noexcept {
  return runtime_->loop();
}

}  // namespace onloop
