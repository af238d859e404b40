#pragma once
#include <onloop/blocking.hpp>

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

/// The worker threads of a context, which run its blocking work. A worker is started when it is needed.
///
/// The pool is a subsystem: the context owns it. All of its functions are for the context's thread. The object Shared
/// holds what the workers and the context's thread share.
///
/// A forked child has none of the workers. A worker of the parent may have held the lock at the moment of the fork, or
/// may have been in the middle of a piece of work. So a child does not use Shared, and never destroys Shared or the
/// work; after_fork() finishes the work with ECANCELED.
class WorkerPool final : public Subsystem {
 public:
  explicit WorkerPool(Runtime& runtime) noexcept;
  ~WorkerPool() override;

  /// Says whether ContextOptions::worker_queue limits the work. Work that continues something that has begun already,
  /// such as the sending of a file, has no limit, so it is not refused.
  enum class Bound : bool { none, queue };
  /// Queues the work, and starts a worker for it if that is useful. The pool shares the ownership of the work until the
  /// work is finished.
  ///
  /// @throws std::system_error EAGAIN if the queue is full. If the pool has no worker and can't start one, the error of
  /// std::thread, or ENOMEM.
  void start(const std::shared_ptr<BlockingWork>& work, Bound bound = Bound::queue);
  /// Asks the work to stop. Work that still waits is taken from the queue, and finishes with ECANCELED in a later turn.
  /// In a forked child it does nothing. On another thread than the context's it aborts the process.
  void cancel(BlockingWork& work) noexcept;

  void sever() noexcept override;
  void after_fork() noexcept override;

 private:
  class Shared;
  void finish(const BlockingWork* work);
  void finish_undone(const std::shared_ptr<BlockingWork>& work);
  void abandon() noexcept;

  Runtime& runtime_;
  std::unique_ptr<Shared> shared_;
  std::unordered_map<const BlockingWork*, std::shared_ptr<BlockingWork>> active_;  // not finished yet
};

}  // namespace onloop::detail
