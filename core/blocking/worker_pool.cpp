#include "core/blocking/worker_pool.hpp"

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

#include "core/base/error.hpp"
#include "core/base/signals_blocked.hpp"

namespace onloop::detail {
namespace {

/// The outcome of work that was cancelled before it began: a std::system_error with ECANCELED.
std::exception_ptr canceled() noexcept try {
  throw std::system_error(error_of(ECANCELED), "blocking work");
} catch (...) {
  return std::current_exception();  // the error above, or std::bad_alloc if there was no memory for it
}

/// Holds a value that is never destroyed.
template <class T>
union NeverDestroyed {
  explicit NeverDestroyed(T left) noexcept : value(std::move(left)) {}
  NeverDestroyed(const NeverDestroyed&) = delete;
  NeverDestroyed& operator=(const NeverDestroyed&) = delete;
  ~NeverDestroyed() {}  // NOLINT: an empty destructor keeps the union from destroying the value
  T value;
};
}  // namespace

/// The queue of work and the workers. The WorkerPool owns it. The context's thread and the workers use it, under its
/// lock.
class WorkerPool::Shared {
 public:
  explicit Shared(WorkerPool& pool)
      : pool_(pool),
        mailbox_(pool.runtime_.mailbox()),
        most_threads_(pool.runtime_.options().worker_threads),
        most_waiting_(pool.runtime_.options().worker_queue) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  /// Drops the work that waits in the queue, and waits for the work that is running.
  ~Shared() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      queue_.clear();
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    if (names_.joinable()) names_.join();
  }

  /// Queues the work. It starts a worker if no idle worker is left for the work, and another may be started. Throws as
  /// WorkerPool::start() does.
  void add(const std::shared_ptr<BlockingWork>& work, Bound bound) {
    const std::lock_guard lock(mutex_);
    const bool start = idle_ <= queue_.size() && threads_.size() < most_threads_;
    if (!start && bound == Bound::queue && queue_.size() >= idle_ + most_waiting_) {
      throw_error(EAGAIN, "run blocking work: " + std::to_string(most_waiting_) +
                              " pieces wait for a thread already (ContextOptions::worker_queue)");
    }
    const bool for_names = work->is_lookup && !((start || idle_ > queue_.size()) && may_look_up());
    // The letter is made now, because there may be no memory for it when it is sent.
    auto letter = std::make_unique<Mailbox::Letter>([pool = &pool_, done = work.get()] { pool->finish(done); });
    queue_.push_back({work, std::move(letter)});
    if (start) start_thread();
    if (for_names && !names_.joinable()) start_names_thread();
    wanted_.notify_all();  // all, because a single one could be the thread for names, which can't take other work
  }

  /// Takes the work from the queue, refuses it with ECANCELED and sends its letter. Does nothing if a worker has taken
  /// the work already.
  void remove(BlockingWork& work) noexcept {
    const std::lock_guard lock(mutex_);
    const auto there =
        std::find_if(queue_.begin(), queue_.end(), [&](const auto& each) { return each.work.get() == &work; });
    if (there == queue_.end()) return;
    work.refuse(canceled());
    mailbox_->send(std::move(there->letter));
    queue_.erase(there);
  }

 private:
  /// Starts a worker. If the system refuses it, the pool goes on with the workers that it has. If it has none, this
  /// takes the last piece of work from the queue and throws std::system_error.
  void start_thread() try {
    const SignalsBlocked blocked(SignalsBlocked::Faults::open);
    threads_.reserve(threads_.size() + 1);
    threads_.emplace_back([this] { serve(false); });
  } catch (const std::exception& error) {
    if (!threads_.empty()) return;
    queue_.pop_back();
    const auto* refused = dynamic_cast<const std::system_error*>(&error);
    throw_error(refused ? refused->code().value() : ENOMEM, "start a thread for blocking work");
  }

  /// Starts one additional thread that only looks up names, because a look-up must not wait for work that may block for
  /// ever. If the system refuses the thread, look-ups wait for a worker.
  void start_names_thread() noexcept try {
    const SignalsBlocked blocked(SignalsBlocked::Faults::open);
    names_ = std::thread([this] { serve(true); });
  } catch (const std::exception&) {
  }

  /// What a worker runs until the pool ends. After a piece of work, the worker counts as idle before it sends the
  /// letter. So the context's thread, when it gets the letter, finds the worker idle.
  void serve(bool names_only) {
    const unsigned counts = names_only ? 0 : 1;
    std::unique_lock lock(mutex_);
    idle_ += counts;
    for (;;) {
      auto next = queue_.end();
      wanted_.wait(lock, [&] { return ending_ || (next = first_to_do(names_only)) != queue_.end(); });
      if (ending_) return;
      Piece piece = std::move(*next);
      queue_.erase(next);
      idle_ -= counts;
      const unsigned lookups = piece.work->is_lookup ? counts : 0;
      lookups_ += lookups;
      lock.unlock();
      piece.work->run();
      lock.lock();
      idle_ += counts;
      lookups_ -= lookups;
      lock.unlock();
      piece.work.reset();  // the pool still holds the work, so the context's thread destroys it
      mailbox_->send(std::move(piece.letter));
      lock.lock();
    }
  }

  /// A piece of work that waits in the queue.
  struct Piece {
    std::shared_ptr<BlockingWork> work;
    std::unique_ptr<Mailbox::Letter> letter;  // tells the context's thread that the work is done
  };
  using Queue = std::deque<Piece>;

  /// True if a worker may take another look-up. Look-ups take at most half of the workers, because each takes half a
  /// minute if the name server is down.
  [[nodiscard]] bool may_look_up() const noexcept { return lookups_ < std::max(1U, most_threads_ / 2); }
  /// The first piece in the queue that the calling thread may take; the end of the queue if there is none.
  [[nodiscard]] Queue::iterator first_to_do(bool names_only) {
    const bool names_too = names_only || may_look_up();
    return std::find_if(queue_.begin(), queue_.end(),
                        [&](const Piece& each) { return each.work->is_lookup ? names_too : !names_only; });
  }

  WorkerPool& pool_;
  const std::shared_ptr<Mailbox> mailbox_;
  const unsigned most_threads_;
  const std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  Queue queue_;
  std::thread names_;                 // the thread that only looks up names
  std::vector<std::thread> threads_;  // the context's thread alone starts and joins them
  std::size_t idle_ = 0;              // workers that wait for work; the thread for names is not counted
  unsigned lookups_ = 0;              // look-ups that run on workers
  bool ending_ = false;
};

WorkerPool::WorkerPool(Runtime& runtime) noexcept : runtime_(runtime) {}

WorkerPool::~WorkerPool() = default;

void WorkerPool::start(const std::shared_ptr<BlockingWork>& work, Bound bound) {
  if (!shared_) shared_ = std::make_unique<Shared>(*this);
  active_.emplace(work.get(), work);
  try {
    shared_->add(work, bound);
  } catch (...) {
    active_.erase(work.get());
    throw;
  }
  work->pool = this;
}

/// It does nothing in a forked child: a thread that the child does not have may hold the lock there.
void WorkerPool::cancel(BlockingWork& work) noexcept {
  runtime_.check_thread_or_die();
  if (!shared_ || runtime_.forked()) return;
  work.stop.request_stop();
  shared_->remove(work);
}

/// In a forked child: finishes the work with ECANCELED in the next turn.
void WorkerPool::finish_undone(const std::shared_ptr<BlockingWork>& work) {
  work->refuse(canceled());
  runtime_.post([this, done = work.get()] { finish(done); });
}

/// Finishes the work on the context's thread: calls its `done`.
///
/// @param work May be over already, because a forked child has cancelled it. So it is looked up and not dereferenced.
void WorkerPool::finish(const BlockingWork* work) {
  const auto there = active_.find(work);
  if (there == active_.end()) return;
  const std::shared_ptr<BlockingWork> held = std::move(there->second);
  active_.erase(there);
  held->pool = nullptr;
  held->finish();
}

void WorkerPool::sever() noexcept {
  if (runtime_.forked()) abandon();
  const auto dropped = std::exchange(active_, {});
  for (const auto& [work, held] : dropped) {
    held->stop.request_stop();
    held->pool = nullptr;
  }
  shared_.reset();
}

void WorkerPool::after_fork() noexcept {
  abandon();
  for (const auto& [work, held] : active_) finish_undone(held);
}

/// In a forked child: keeps Shared and the work from being destroyed, and the work from being asked to stop. Either
/// could reach something that the parent has, too.
void WorkerPool::abandon() noexcept {
  static_cast<void>(shared_.release());
  for (const auto& [work, held] : active_) {
    static_cast<void>(NeverDestroyed(held));
    static_cast<void>(NeverDestroyed(std::exchange(held->stop, std::stop_source(std::nostopstate))));
  }
}

}  // namespace onloop::detail
