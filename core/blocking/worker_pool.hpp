#pragma once
#include <onloop/blocking.hpp>

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

/// The threads of a context that do what blocks, started when they are needed.
///
/// What the threads share with it is in Shared. A forked child has none of them, and may have been made while one held
/// the lock, or in the middle of a piece of work; so there Shared and the work are left alone, for good.
class WorkerPool final : public Subsystem {
 public:
  explicit WorkerPool(Runtime& runtime) noexcept;
  ~WorkerPool() override;

  /// Whether ContextOptions::worker_queue bounds it; what goes on with something that has begun is not refused.
  enum class Bound : bool { none, queue };
  /// Throws std::system_error: EAGAIN if the queue is full, or there can be no thread.
  void start(const std::shared_ptr<BlockingWork>& work, Bound bound = Bound::queue);
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
  std::unordered_map<const BlockingWork*, std::shared_ptr<BlockingWork>> active_;  // done is owed
};

}  // namespace onloop::detail
