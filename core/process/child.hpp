#pragma once
#include <sys/types.h>
#include <onloop/connection.hpp>
#include <onloop/process.hpp>

#include <array>
#include <functional>

#include "core/process/launch.hpp"
#include "core/runtime/source.hpp"

namespace onloop::detail {

class Children;

/// One child process: watches its pidfd, and reaps it. Belongs to its context until it has ended, and its memory also
/// to the Process.
class Child final : public Source {
 public:
  Child(Children& children, Function<void(ExitStatus)> on_exit);

  /// Once. If it throws, there is no child process, and no stream of it; then only drop() is left.
  void start(Launch& launch);

  // ---- Process ----
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] bool running() const noexcept;
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
