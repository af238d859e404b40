#pragma once
#include <onloop/descriptor.hpp>
#include <onloop/task.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/process_mark.hpp"

namespace onloop::detail {

/// The mailbox of a context: other threads and signal handlers reach the context through it. It holds a list of tasks,
/// a flag for wake(), the signals that came, and an eventfd that the context's loop watches.
///
/// All of this is lock-free. With a lock, a signal handler could find the lock held, and so could a child that is
/// forked at any moment.
///
/// The Runtime, every Remote and everything else in the library that sends to it share the ownership.
class Mailbox {
 public:
  /// One task in the list. The sender makes it beforehand, so that sending can't fail for want of memory.
  class Letter {
   public:
    explicit Letter(Task task) noexcept : task_(std::move(task)) {}

   private:
    friend class Mailbox;
    Task task_;
    Letter* next_ = nullptr;
    bool counted_ = false;  // counted in posted_
  };

  /// Throws std::system_error if the eventfd can't be made.
  ///
  /// @param most_posted The number of posted tasks that may wait; 0 means no limit.
  explicit Mailbox(std::size_t most_posted = 0);
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // ---- any thread ----
  /// Sends a task. Returns false if the mailbox is closed or full; the task is destroyed then.
  bool post(Task task);
  /// Sends a letter of the library itself, such as the end of blocking work. It does not count as a post. Returns false
  /// only if the mailbox is closed; the letter is destroyed then.
  bool send(std::unique_ptr<Letter> letter) noexcept;
  [[nodiscard]] bool closed() const noexcept { return head_.load(std::memory_order_acquire) == closed_mark(); }
  /// Makes the context call ContextOptions::on_wake.
  void wake() noexcept;
  /// Notes that the signal came. A signal handler may call it.
  void note_signal(int number) noexcept;

  /// Wakes the loop for a turn, without any task, wake-up or signal.
  void nudge() noexcept { signal(); }

  // ---- the context's thread ----
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  /// Makes the eventfd unreadable. It must be called before take_wake(), take_signals() and take_tasks().
  void clear() noexcept;
  /// Returns whether wake() was called since the last take_wake().
  [[nodiscard]] bool take_wake() noexcept { return woken_.exchange(false, std::memory_order_acquire); }
  /// Returns which signals came since the last take_signals(). For signal n, bit n - 1 is set.
  [[nodiscard]] std::uint64_t take_signals() noexcept { return signals_.exchange(0, std::memory_order_acquire); }
  /// Calls `sink(task, counted)` for each task, in the order of the posts. If `counted` is true, the caller must call
  /// done_with_one() when the task is about to run. If `sink` throws before it has taken a task, this task and the rest
  /// stay in the mailbox.
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
  /// A counted task no longer waits, because it is about to run.
  void done_with_one() noexcept { posted_.fetch_sub(1, std::memory_order_relaxed); }
  /// Refuses posts from now on, and destroys the letters that are left.
  void close() noexcept;
  /// Makes a new eventfd in a forked child, which must not use the eventfd of its parent. The new one is readable at
  /// once if anything waits. Throws std::system_error.
  void renew();

 private:
  static Letter* in_order(Letter* newest_first) noexcept;
  /// The value of head_ after close(). It is the address of the mailbox, which no letter has.
  [[nodiscard]] Letter* closed_mark() const noexcept {
    return reinterpret_cast<Letter*>(const_cast<Mailbox*>(this));  // NOLINT: it is only compared
  }
  void give_back(Letter* in_order) noexcept;
  /// True if the last write to the eventfd has failed. Then each sender must write to it, and not only the first.
  [[nodiscard]] bool is_unsignalled() const noexcept { return unsignalled_.load(std::memory_order_relaxed); }
  static void destroy(Letter* letters) noexcept;
  void signal() noexcept;

  Descriptor event_;
  ProcessMark process_;  // the process that made the eventfd: a forked child must not wake its parent
  const std::size_t most_posted_;
  std::atomic<std::size_t> posted_{0};    // posted tasks that wait; counted only if there is a limit
  std::atomic<bool> unsignalled_{false};  // the last write to the eventfd has failed
  std::atomic<bool> woken_{false};
  std::atomic<std::uint64_t> signals_{0};
  std::atomic<Letter*> head_{nullptr};  // the list of letters, the newest first
};

}  // namespace onloop::detail
