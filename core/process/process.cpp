// Context::spawn(), and the functions of Process and ExitStatus.
#include <onloop/process.hpp>

#include <onloop/context.hpp>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/base/error.hpp"
#include "core/process/child.hpp"
#include "core/process/children.hpp"
#include "core/process/launch.hpp"

namespace onloop {

Process Context::spawn(SpawnOptions options, Function<void(ExitStatus)> on_exit) {
  runtime_->check_thread();
  if (runtime_->forked()) detail::throw_error(EPERM, "spawn in a forked child: call after_fork() first");
  detail::Launch launch(options);
  auto* child = new detail::Child(runtime_->subsystem<detail::Children>(), std::move(on_exit));
  Process process{detail::HandleTo<detail::Child>(detail::Held<detail::Child>(child).release())};
  child->start(launch);
  return process;
}

std::string ExitStatus::to_string() const {
  if (!known()) return "ended in an unknown way";
  if (signal == 0) return "exited with status " + std::to_string(code);
  const char* words = sigdescr_np(signal);
  return "killed by signal " + std::to_string(signal) + (words ? std::string(" (") + words + ")" : "") +
         (core_dumped ? ", core dumped" : "");
}

void detail::Retire::operator()(Child* child) const noexcept {
  child->cancel();
  Held<Child>::drop(child);
}

pid_t Process::pid() const noexcept {
  return child_ ? child_->pid() : 0;
}

bool Process::running() const noexcept {
  return child_ && child_->running();
}

void Process::kill(int signal) {
  if (child_) child_->kill(signal);
}

Connection* Process::in() const noexcept {
  return child_ ? child_->stream(STDIN_FILENO) : nullptr;
}

Connection* Process::out() const noexcept {
  return child_ ? child_->stream(STDOUT_FILENO) : nullptr;
}

Connection* Process::err() const noexcept {
  return child_ ? child_->stream(STDERR_FILENO) : nullptr;
}

}  // namespace onloop
