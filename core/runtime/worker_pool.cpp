#include "core/runtime/worker_pool.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/runtime/error.hpp"

namespace onloop {
namespace detail {
namespace {

std::exception_ptr canceled() noexcept {
  return std::make_exception_ptr(std::system_error(error_of(ECANCELED), "blocking work"));
}

/// While one lives, a thread that is started has all signals blocked: they are for the application's threads.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &mask_, nullptr); }

 private:
  sigset_t mask_;
};

}  // namespace

/// The queue and its threads.
class WorkerPool::Shared {
 public:
  Shared(WorkerPool& pool, std::shared_ptr<Mailbox> mailbox) : pool_(pool), mailbox_(std::move(mailbox)) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  /// Waits for what the threads are doing; what waits is dropped.
  ~Shared() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      queue_.clear();
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void add(const std::shared_ptr<BlockingWork>& work, Bound bound, const ContextOptions& options) {
    const std::lock_guard lock(mutex_);
    const bool start = idle_ <= queue_.size() && threads_.size() < options.worker_threads;
    if (!start && bound == Bound::queue && queue_.size() >= idle_ + options.worker_queue) {
      throw_error(EAGAIN, "run blocking work: " + std::to_string(options.worker_queue) +
                              " pieces wait for a thread already (ContextOptions::worker_queue)");
    }
    queue_.push_back(work);
    if (start) start_thread();
    wanted_.notify_one();
  }

  /// False if a thread has taken it.
  bool remove(const BlockingWork& work) noexcept {
    const std::lock_guard lock(mutex_);
    const auto there =
        std::find_if(queue_.begin(), queue_.end(), [&](const auto& each) { return each.get() == &work; });
    if (there == queue_.end()) return false;
    queue_.erase(there);
    return true;
  }

 private:
  /// With fewer threads than allowed it goes on, but not with none.
  void start_thread() try {
    const SignalsBlocked blocked;
    threads_.reserve(threads_.size() + 1);
    threads_.emplace_back([this] { serve(); });
  } catch (const std::exception& error) {
    if (!threads_.empty()) return;
    queue_.pop_back();
    const auto* refused = dynamic_cast<const std::system_error*>(&error);
    throw_error(refused ? refused->code().value() : ENOMEM, "start a thread for blocking work");
  }

  /// It is idle before anybody is told, so that who is told finds it so.
  void serve() {
    std::unique_lock lock(mutex_);
    ++idle_;
    for (;;) {
      wanted_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (ending_) return;
      std::shared_ptr<BlockingWork> work = std::move(queue_.front());
      queue_.pop_front();
      --idle_;
      lock.unlock();
      work->run();
      lock.lock();
      ++idle_;
      lock.unlock();
      mailbox_->post([pool = &pool_, work = std::move(work)] { pool->finish(*work); });
      lock.lock();
    }
  }

  WorkerPool& pool_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<std::shared_ptr<BlockingWork>> queue_;
  std::vector<std::thread> threads_;  // the context's thread alone starts and joins them
  std::size_t idle_ = 0;
  bool ending_ = false;
};

WorkerPool::WorkerPool(Runtime& runtime) noexcept : runtime_(runtime) {}

WorkerPool::~WorkerPool() = default;

void WorkerPool::start(const std::shared_ptr<BlockingWork>& work, Bound bound) {
  if (!shared_) shared_ = std::make_unique<Shared>(*this, runtime_.mailbox());
  active_.emplace(work.get(), work);
  try {
    shared_->add(work, bound, runtime_.options());
  } catch (...) {
    active_.erase(work.get());
    throw;
  }
  work->pool = this;
}

void WorkerPool::cancel(BlockingWork& work) noexcept {
  work.stop.request_stop();
  if (shared_->remove(work)) finish_undone(active_.at(&work));
}

void WorkerPool::finish_undone(std::shared_ptr<BlockingWork> work) {
  work->refuse(canceled());
  runtime_.post([this, work = std::move(work)] { finish(*work); });
}

void WorkerPool::finish(BlockingWork& work) {
  if (active_.erase(&work) == 0) return;  // a forked child has cancelled it
  work.pool = nullptr;
  work.finish();
}

void WorkerPool::sever() noexcept {
  if (runtime_.forked()) abandon();
  for (const auto& [work, held] : active_) {
    held->stop.request_stop();
    held->pool = nullptr;
  }
  shared_.reset();
  active_.clear();
}

void WorkerPool::after_fork() noexcept {
  abandon();
  for (const auto& [work, held] : active_) finish_undone(held);
}

/// Nothing of it is destroyed any more.
void WorkerPool::abandon() noexcept {
  static_cast<void>(shared_.release());
  for (const auto& [work, held] : active_) static_cast<void>(new std::shared_ptr(held));
}

}  // namespace detail

std::error_code error_code_of(const std::exception_ptr& exception) noexcept {
  if (!exception) return {};
  try {
    std::rethrow_exception(exception);
  } catch (const std::system_error& error) {
    return error.code();
  } catch (const std::bad_alloc&) {
    return detail::error_of(ENOMEM);
  } catch (...) {
    return detail::error_of(EIO);
  }
}

void Job::cancel() noexcept {
  const auto work = work_.lock();
  if (work && work->pool) work->pool->cancel(*work);
}

Job Context::start_blocking(std::shared_ptr<detail::BlockingWork> work) {
  runtime_->check_thread();
  runtime_->tenant<detail::WorkerPool>().start(work);
  return Job(work);
}

}  // namespace onloop
