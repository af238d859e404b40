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

/// One child process. The object watches the pidfd of the process, and reaps the process when it ends.
///
/// The context owns the object until the process has ended. The user's Process shares the ownership of its memory.
/// Thread: the context's.
class Child final : public Source {
 public:
  Child(Children& children, Function<void(ExitStatus)> on_exit);

  /// Starts the process and watches it. It must be called once. If it throws, there is no child process and no stream
  /// of it, and the only call that is allowed then is drop().
  void start(Launch& launch);

  // ---- for Process ----
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] bool running() const noexcept;
  void kill(int signal);
  [[nodiscard]] Connection* stream(std::size_t number) const noexcept { return streams_[number].get(); }
  /// Destroys on_exit, so that the end of the process calls nobody. The process goes on.
  void cancel() noexcept;

  // ---- for Children ----
  /// Sends SIGKILL. Returns false if that is not possible, because this process may not kill the child or the child is
  /// not watched. The caller must not wait for the child then.
  [[nodiscard]] bool kill_now() const noexcept;
  /// Waits until the process has ended, and reaps it. Blocks.
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
