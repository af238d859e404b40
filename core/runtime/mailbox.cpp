#include "core/runtime/mailbox.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>

#include "core/base/error.hpp"

namespace onloop::detail {
namespace {

constexpr int kTries = 8;  // attempts to write to the eventfd

Descriptor make_event() {
  Descriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw_error(errno, "make an eventfd for waking the loop");
  return event;
}

}  // namespace

Mailbox::Mailbox(std::size_t most_posted) : event_(make_event()), process_(this_process()), most_posted_(most_posted) {}

Mailbox::~Mailbox() {
  close();
}

bool Mailbox::post(Task task) {
  if (!task) return !closed();
  auto letter = std::make_unique<Letter>(std::move(task));
  if (most_posted_ == 0) return send(std::move(letter));
  if (posted_.fetch_add(1, std::memory_order_relaxed) < most_posted_) {
    letter->counted_ = true;
    if (send(std::move(letter))) return true;
  }
  done_with_one();
  return false;
}

bool Mailbox::send(std::unique_ptr<Letter> sent) noexcept {
  Letter* letter = sent.release();
  Letter* head = head_.load(std::memory_order_relaxed);
  do {
    if (head == closed_mark()) {
      delete letter;
      return false;
    }
    letter->next_ = head;
  } while (!head_.compare_exchange_weak(head, letter, std::memory_order_release, std::memory_order_relaxed));
  // If there were letters before this one, the sender of the first has signalled or is about to, unless that failed.
  if (!head || is_unsignalled()) signal();
  return true;
}

/// Puts letters back that take_tasks() has not delivered. They are older than the letters that have come meanwhile, and
/// the list is kept newest first, so they go to its end.
void Mailbox::give_back(Letter* ordered) noexcept {
  Letter* list = in_order(ordered);
  for (Letter* none = nullptr;; none = nullptr) {
    if (Letter* newer = head_.exchange(nullptr, std::memory_order_acquire)) {
      Letter* oldest = newer;
      while (oldest->next_) oldest = oldest->next_;
      oldest->next_ = list;
      list = newer;
    }
    if (head_.compare_exchange_strong(none, list, std::memory_order_release, std::memory_order_relaxed)) break;
  }
  signal();
}

void Mailbox::wake() noexcept {
  if (!woken_.exchange(true, std::memory_order_release) || is_unsignalled()) signal();
}

void Mailbox::note_signal(int number) noexcept {
  const std::uint64_t before = signals_.fetch_or(std::uint64_t{1} << (number - 1), std::memory_order_release);
  if (before == 0 || is_unsignalled()) signal();
}

/// Writes to the eventfd. The only error that the kernel documents for this write is EAGAIN. It means that the eventfd
/// is readable already, so the loop wakes anyway. After any other error the write is repeated at once, a few times. If
/// they all fail, the next post, wake or signal tries again.
void Mailbox::signal() noexcept {
  const int saved = errno;  // a signal handler must leave errno as it was
  if (this_process() == process_) {
    const std::uint64_t one = 1;
    bool written = false;
    for (int left = kTries; left > 0 && !written; --left) {
      written = ::write(event_.get(), &one, sizeof one) == sizeof one || errno == EAGAIN;
    }
    unsignalled_.store(!written, std::memory_order_relaxed);
  }
  errno = saved;
}

void Mailbox::clear() noexcept {
  std::uint64_t count = 0;
  while (::read(event_.get(), &count, sizeof count) < 0 && errno == EINTR) {
  }  // after another error the eventfd stays readable, and the next turn tries again
}

void Mailbox::close() noexcept {
  Letter* letters = head_.exchange(closed_mark(), std::memory_order_acq_rel);
  if (letters != closed_mark()) destroy(letters);
}

void Mailbox::renew() {
  event_ = make_event();
  process_ = this_process();
  if (woken_.load() || signals_.load() || head_.load()) signal();
}

/// Reverses the list. The result begins with the oldest letter.
Mailbox::Letter* Mailbox::in_order(Letter* newest_first) noexcept {
  Letter* ordered = nullptr;
  while (newest_first) {
    Letter* next = newest_first->next_;
    newest_first->next_ = ordered;
    ordered = newest_first;
    newest_first = next;
  }
  return ordered;
}

void Mailbox::destroy(Letter* letters) noexcept {
  while (letters) {
    Letter* next = letters->next_;
    delete letters;
    letters = next;
  }
}

}  // namespace onloop::detail
