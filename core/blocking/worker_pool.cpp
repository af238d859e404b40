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

namespace onloop::detail {
namespace {

std::exception_ptr canceled() noexcept try {
  throw std::system_error(error_of(ECANCELED), "blocking work");
} catch (...) {
  return std::current_exception();  // the error, or that there was no memory for its words
}

/// A value that is left as it is, for good.
template <class T>
union NeverDestroyed {
  explicit NeverDestroyed(T left) noexcept : value(std::move(left)) {}
  NeverDestroyed(const NeverDestroyed&) = delete;
  NeverDestroyed& operator=(const NeverDestroyed&) = delete;
  ~NeverDestroyed() {}  // NOLINT: that is the point of it
  T value;
};

/// While one lives, a thread that is started has all signals blocked but those of its own faults: the others are for
/// the application's threads.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&all, fault);
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
  explicit Shared(WorkerPool& pool)
      : pool_(pool),
        mailbox_(pool.runtime_.mailbox()),
        most_threads_(pool.runtime_.options().worker_threads),
        most_waiting_(pool.runtime_.options().worker_queue) {}
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
    if (names_.joinable()) names_.join();
  }

  void add(const std::shared_ptr<BlockingWork>& work, Bound bound) {
    const std::lock_guard lock(mutex_);
    const bool start = idle_ <= queue_.size() && threads_.size() < most_threads_;
    if (!start && bound == Bound::queue && queue_.size() >= idle_ + most_waiting_) {
      throw_error(EAGAIN, "run blocking work: " + std::to_string(most_waiting_) +
                              " pieces wait for a thread already (ContextOptions::worker_queue)");
    }
    const bool for_names = work->is_lookup && !((start || idle_ > queue_.size()) && may_look_up());
    // Made now: when it is sent there may be no memory.
    auto letter = std::make_unique<Mailbox::Letter>([pool = &pool_, done = work.get()] { pool->finish(done); });
    queue_.push_back({work, std::move(letter)});
    if (start) start_thread();
    if (for_names && !names_.joinable()) start_names_thread();
    wanted_.notify_all();  // the one that wakes may be the one for names
  }

  /// Unless a thread has taken it, it is refused, and its end is on the way.
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
  /// With fewer threads than allowed it goes on, but not with none.
  void start_thread() try {
    const SignalsBlocked blocked;
    threads_.reserve(threads_.size() + 1);
    threads_.emplace_back([this] { serve(false); });
  } catch (const std::exception& error) {
    if (!threads_.empty()) return;
    queue_.pop_back();
    const auto* refused = dynamic_cast<const std::system_error*>(&error);
    throw_error(refused ? refused->code().value() : ENOMEM, "start a thread for blocking work");
  }

  /// A name must not wait for work that may block for ever: one thread more, for names alone. Without it they wait.
  void start_names_thread() noexcept try {
    const SignalsBlocked blocked;
    names_ = std::thread([this] { serve(true); });
  } catch (const std::exception&) {
  }

  /// It is idle before anybody is told, so that who is told finds it so.
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
      piece.work.reset();  // the context's thread has it, and destroys it
      mailbox_->send(std::move(piece.letter));
      lock.lock();
    }
  }

  struct Piece {
    std::shared_ptr<BlockingWork> work;
    std::unique_ptr<Mailbox::Letter> letter;  // says that it is done
  };
  using Queue = std::deque<Piece>;

  /// Look-ups take at most half of the threads: with a name server that is down, each takes half a minute.
  [[nodiscard]] bool may_look_up() const noexcept { return lookups_ < std::max(1U, most_threads_ / 2); }
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
  std::thread names_;
  std::vector<std::thread> threads_;  // the context's thread alone starts and joins them
  std::size_t idle_ = 0;
  unsigned lookups_ = 0;  // under way
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

/// In a forked child the lock may be held by a thread that there is not.
void WorkerPool::cancel(BlockingWork& work) noexcept {
  runtime_.check_thread_or_die();
  if (!shared_ || runtime_.forked()) return;
  work.stop.request_stop();
  shared_->remove(work);
}

void WorkerPool::finish_undone(const std::shared_ptr<BlockingWork>& work) {
  work->refuse(canceled());
  runtime_.post([this, done = work.get()] { finish(done); });
}

/// work: is looked for, since a forked child may have cancelled it.
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

/// Nothing of it is destroyed any more, nor asked to stop: how it does that could reach what the parent has, too.
void WorkerPool::abandon() noexcept {
  static_cast<void>(shared_.release());
  for (const auto& [work, held] : active_) {
    static_cast<void>(NeverDestroyed(held));
    static_cast<void>(NeverDestroyed(std::exchange(held->stop, std::stop_source(std::nostopstate))));
  }
}

}  // namespace onloop::detail
