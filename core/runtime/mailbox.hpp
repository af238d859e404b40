#pragma once
#include <onloop/task.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/process_mark.hpp"
#include "core/base/unique_fd.hpp"

namespace onloop::detail {

/// How other threads and signal handlers reach a context: a list of tasks and a flag, both lock-free (so that neither a
/// signal handler nor a child forked at any moment can find a lock held), and an eventfd that the loop watches.
class Mailbox {
 public:
  /// What is sent: made beforehand, so that sending can't fail for want of memory.
  class Letter {
   public:
    explicit Letter(Task task) noexcept : task_(std::move(task)) {}

   private:
    friend class Mailbox;
    Task task_;
    Letter* next_ = nullptr;
    bool counted_ = false;
  };

  /// Throws std::system_error. most_posted: posts that may wait to be run; 0 is no limit.
  explicit Mailbox(std::size_t most_posted = 0);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // ---- any thread ----
  /// False if it is closed, or full.
  bool post(Task task);
  /// A completion of our own: not counted, and refused only if the mailbox is closed.
  bool send(std::unique_ptr<Letter> letter) noexcept;
  [[nodiscard]] bool closed() const noexcept { return head_.load(std::memory_order_acquire) == closed_mark(); }
  void wake() noexcept;
  /// In a signal handler: it has come.
  void note_signal(int number) noexcept;

  /// Wakes the loop, and tells it nothing.
  void nudge() noexcept { signal(); }

  // ---- the context's thread ----
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  /// Makes the eventfd unreadable; to be called before the two that follow.
  void clear() noexcept;
  [[nodiscard]] bool take_wake() noexcept { return woken_.exchange(false, std::memory_order_acquire); }
  /// Which signals have come: of number n, bit n - 1.
  [[nodiscard]] std::uint64_t take_signals() noexcept { return signals_.exchange(0, std::memory_order_acquire); }
  /// Calls `sink` with each posted task, in order, and whether done_with_one() is to be called for it. If `sink` throws
  /// before it has taken a task, that one and the rest stay.
  template <class Sink>
  void take_tasks(Sink sink) {
    Letter* letter = in_order(head_.exchange(nullptr, std::memory_order_acquire));
    while (letter) {
      try {
        sink(std::move(letter->task_), letter->counted_);
      } catch (...) {
        give_back(letter);
        throw;
      }
      Letter* next = letter->next_;
      delete letter;
      letter = next;
    }
  }
  /// One that was counted is about to run.
  void done_with_one() noexcept { posted_.fetch_sub(1, std::memory_order_relaxed); }
  /// Refuses posts from now on and destroys what is left.
  void close() noexcept;
  /// In a forked child: an eventfd of its own, signalled if anything is waiting. Throws std::system_error.
  void renew();

 private:
  static Letter* in_order(Letter* newest_first) noexcept;
  /// What stands in head_ after close(): no letter has this address.
  [[nodiscard]] Letter* closed_mark() const noexcept {
    return reinterpret_cast<Letter*>(const_cast<Mailbox*>(this));  // NOLINT: only compared
  }
  void give_back(Letter* in_order) noexcept;
  /// Whether the eventfd has to be written although somebody else has put the first thing there.
  [[nodiscard]] bool is_unsignalled() const noexcept { return unsignalled_.load(std::memory_order_relaxed); }
  static void destroy(Letter* letters) noexcept;
  void signal() noexcept;

  UniqueFd event_;
  ProcessMark process_;  // whose eventfd it is: a forked child must not wake its parent
  const std::size_t most_posted_;
  std::atomic<std::size_t> posted_{0};    // that wait to be run, if there is a limit
  std::atomic<bool> unsignalled_{false};  // the last write has failed
  std::atomic<bool> woken_{false};
  std::atomic<std::uint64_t> signals_{0};
  std::atomic<Letter*> head_{nullptr};  // newest first
};

}  // namespace onloop::detail
