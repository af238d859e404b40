#pragma once
#include <sys/types.h>
#include <onloop/task.hpp>

#include <atomic>
#include <cstdint>

#include "core/runtime/unique_fd.hpp"

namespace onloop::detail {

/// How other threads and signal handlers reach a context: a list of tasks and a flag, both lock-free (so that neither a
/// signal handler nor a child forked at any moment can find a lock held), and an eventfd that the loop watches.
class Mailbox {
 public:
  Mailbox();  // throws std::system_error
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox();

  // ---- any thread ----
  bool post(Task task);
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
  /// Calls `sink` with each posted task, in order.
  template <class Sink>
  void take_tasks(Sink sink) {
    Letter* letter = in_order(head_.exchange(nullptr, std::memory_order_acquire));
    while (letter) {
      sink(std::move(letter->task));
      Letter* next = letter->next;
      delete letter;
      letter = next;
    }
  }
  /// Refuses posts from now on and destroys what is left.
  void close() noexcept;
  /// In a forked child: an eventfd of its own, signalled if anything is waiting. Throws std::system_error.
  void renew();

 private:
  struct Letter {
    Task task;
    Letter* next;
  };
  static Letter* in_order(Letter* newest_first) noexcept;
  /// What stands in head_ after close(): no letter has this address.
  Letter* closed() noexcept { return reinterpret_cast<Letter*>(this); }
  static void destroy(Letter* letters) noexcept;
  void signal() noexcept;

  UniqueFd event_;
  pid_t process_;  // whose eventfd it is: a forked child must not wake its parent
  std::atomic<bool> woken_{false};
  std::atomic<std::uint64_t> signals_{0};
  std::atomic<Letter*> head_{nullptr};  // newest first
};

}  // namespace onloop::detail
