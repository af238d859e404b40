#pragma once
#include <sys/types.h>
#include <onloop/connection.hpp>
#include <onloop/process.hpp>

#include <array>
#include <functional>
#include <vector>

#include "core/process/launch.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

class Child;

/// The children of one context.
class Children final : public Subsystem {
 public:
  explicit Children(Runtime& runtime) noexcept : runtime_(runtime) {}
  [[nodiscard]] Runtime& runtime() noexcept { return runtime_; }
  void add(Child& child) { children_.push_back(&child); }
  void remove(Child& child) noexcept { std::erase(children_, &child); }

  /// Kills and reaps them, so that no zombie is left.
  void sever() noexcept override;
  /// They are the parent's.
  void after_fork() noexcept override;

 private:
  void forget() noexcept;

  Runtime& runtime_;
  std::vector<Child*> children_;
};

/// One child process: watches its pidfd, and reaps it. Belongs to its context until it has ended, and its memory also
/// to the Process.
class Child final : public Source {
 public:
  Child(Children& children, Function<void(ExitStatus)> on_exit);

  /// Once. If it throws, there is no child process, and no stream of it; then only drop() is left.
  void start(Launch& launch);

  // ---- Process ----
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] bool running() const noexcept { return runtime() && !runtime()->forked(); }
  void kill(int signal);
  [[nodiscard]] Connection* stream(std::size_t number) const noexcept { return streams_[number].get(); }
  /// Nobody is told any more.
  void cancel() noexcept;

  /// Sends SIGKILL; false if it can't be waited for, since it may not be killed.
  [[nodiscard]] bool kill_now() const noexcept;
  /// Waits for its end, and reaps it.
  void reap() const noexcept;
  void sever() noexcept override;

 private:
  void on_ready(std::uint32_t readiness) override;
  void on_deferred() override;
  void watch(const std::string& what);
  void end(ExitStatus status);
  void leave() noexcept;

  Children& children_;
  Function<void(ExitStatus)> on_exit_;
  pid_t pid_ = 0;
  std::array<Ref, Launch::kStreams> streams_;
};

}  // namespace onloop::detail
