#include "core/runtime/mailbox.hpp"

#include <sys/eventfd.h>
#include <onloop/remote.hpp>

#include <cerrno>
#include <cstdint>

#include "core/runtime/error.hpp"

namespace onloop {

bool Remote::post(Task task) const {
  return mailbox_->post(std::move(task));
}
void Remote::wake() const noexcept {
  mailbox_->wake();
}

namespace detail {
namespace {

UniqueFd make_event() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) throw_error(errno, "make an eventfd for waking the loop");
  return event;
}

}  // namespace

Mailbox::Mailbox() : event_(make_event()), process_(getpid()) {}

Mailbox::~Mailbox() {
  close();
}

bool Mailbox::post(Task task) {
  if (!task) return head_.load(std::memory_order_acquire) != closed();
  auto* letter = new Letter{std::move(task), nullptr};
  Letter* head = head_.load(std::memory_order_relaxed);
  do {
    if (head == closed()) {
      delete letter;
      return false;
    }
    letter->next = head;
  } while (!head_.compare_exchange_weak(head, letter, std::memory_order_release, std::memory_order_relaxed));
  if (!head) signal();  // else whoever put the first one there has signalled, or is about to
  return true;
}

void Mailbox::wake() noexcept {
  if (!woken_.exchange(true, std::memory_order_release)) signal();
}

void Mailbox::note_signal(int number) noexcept {
  if (signals_.fetch_or(std::uint64_t{1} << (number - 1), std::memory_order_release) == 0) signal();
}

void Mailbox::signal() noexcept {
  const int saved = errno;  // for signal handlers
  if (getpid() == process_) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
  }
  errno = saved;
}

void Mailbox::clear() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_.get(), &count, sizeof count);
}

void Mailbox::close() noexcept {
  Letter* letters = head_.exchange(closed(), std::memory_order_acq_rel);
  if (letters != closed()) destroy(letters);
}

void Mailbox::renew() {
  event_ = make_event();
  process_ = getpid();
  if (woken_.load() || signals_.load() || head_.load()) signal();
}

Mailbox::Letter* Mailbox::in_order(Letter* newest_first) noexcept {
  Letter* ordered = nullptr;
  while (newest_first) {
    Letter* next = newest_first->next;
    newest_first->next = ordered;
    ordered = newest_first;
    newest_first = next;
  }
  return ordered;
}

void Mailbox::destroy(Letter* letters) noexcept {
  while (letters) {
    Letter* next = letters->next;
    delete letters;
    letters = next;
  }
}

}  // namespace detail
}  // namespace onloop
