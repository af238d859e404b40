#include "core/runtime/signal_table.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <string>

#include "core/runtime/error.hpp"
#include "core/runtime/mailbox.hpp"

namespace onloop::detail {

/// The handler reads without a lock; who writes holds one, and waits for the handlers that are running before memory
/// goes.
struct SignalTable {
  struct Row {
    std::atomic<SignalSubscription*> first{nullptr};
    struct sigaction former {};
    bool installed = false;  // perhaps beneath somebody else's handler
  };

  std::mutex lock;
  bool fork_is_foreseen = false;
  std::atomic<unsigned> running{0};  // handlers
  std::array<Row, NSIG> rows;

  static void handle(int number, siginfo_t* info, void* context) noexcept;
  void install(int number);
  void restore(int number) noexcept;
  void add(SignalSubscription& added);
  void remove(SignalSubscription& removed) noexcept;
};

namespace {

constinit SignalTable table;
constinit thread_local bool handling[NSIG]{};  // somebody above us in a chain that comes back to us

bool can_be_watched(int number) noexcept {
  switch (number) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:  // what these four tell of would happen again and again
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
      return false;
    default:
      return number > 0 && number < NSIG;
  }
}

void call(const struct sigaction& former, int number, siginfo_t* info, void* context) noexcept {
  if (former.sa_flags & SA_SIGINFO) {
    former.sa_sigaction(number, info, context);
  } else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
    former.sa_handler(number);
  }
}

/// Nobody watches it any more, but somebody who came after us has put our handler back.
void do_default(const struct sigaction& former, int number) noexcept {
  if ((former.sa_flags & SA_SIGINFO) || former.sa_handler != SIG_DFL) return;
  sigaction(number, &former, nullptr);
  raise(number);
}

}  // namespace

void SignalTable::handle(int number, siginfo_t* info, void* context) noexcept {
  if (handling[number]) return;
  handling[number] = true;
  const int saved = errno;
  Row& row = table.rows[static_cast<std::size_t>(number)];
  table.running.fetch_add(1);
  const SignalSubscription* each = row.first.load();
  const bool watched = each != nullptr;
  for (; each; each = each->next_.load()) each->mailbox_->note_signal(number);
  table.running.fetch_sub(1);
  call(row.former, number, info, context);
  if (!watched) do_default(row.former, number);
  errno = saved;
  handling[number] = false;
}

void SignalTable::install(int number) {
  Row& row = rows[static_cast<std::size_t>(number)];
  struct sigaction current {};
  if (sigaction(number, nullptr, &current) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == &SignalTable::handle) return;
  row.former = current;
  struct sigaction ours {};
  ours.sa_sigaction = &SignalTable::handle;
  ours.sa_mask = current.sa_mask;
  ours.sa_flags = SA_SIGINFO | SA_RESTART | (current.sa_flags & (SA_ONSTACK | SA_NOCLDSTOP | SA_NOCLDWAIT));
  if (sigaction(number, &ours, nullptr) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  row.installed = true;
}

/// Unless somebody has put a handler over ours, and may put ours back.
void SignalTable::restore(int number) noexcept {
  Row& row = rows[static_cast<std::size_t>(number)];
  struct sigaction current {};
  if (!row.installed || sigaction(number, nullptr, &current) < 0) return;
  if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != &SignalTable::handle) return;
  sigaction(number, &row.former, nullptr);
  row.installed = false;
}

void SignalTable::add(SignalSubscription& added) {
  const std::lock_guard guard(lock);
  if (!fork_is_foreseen) {  // a child must not find the lock held by a thread that it has not got
    const int error =
        pthread_atfork([] { table.lock.lock(); }, [] { table.lock.unlock(); }, [] { table.lock.unlock(); });
    if (error != 0) throw_error(error, "watch a signal");
    fork_is_foreseen = true;
  }
  Row& row = rows[static_cast<std::size_t>(added.number_)];
  if (!row.first.load()) install(added.number_);
  added.next_.store(row.first.load());
  row.first.store(&added);
}

void SignalTable::remove(SignalSubscription& removed) noexcept {
  const std::lock_guard guard(lock);
  Row& row = rows[static_cast<std::size_t>(removed.number_)];
  std::atomic<SignalSubscription*>* link = &row.first;
  while (link->load() != &removed) link = &link->load()->next_;
  if (link == &row.first && !removed.next_.load()) restore(removed.number_);
  link->store(removed.next_.load());
  while (running.load() != 0) sched_yield();  // they may still be at the one that goes
}

SignalSubscription::SignalSubscription(int number, std::shared_ptr<Mailbox> mailbox)
    : number_(number), mailbox_(std::move(mailbox)) {
  if (!can_be_watched(number))
    throw_error(EINVAL, "watch signal " + std::to_string(number) + ", which can't be watched");
  table.add(*this);
}

SignalSubscription::~SignalSubscription() {
  table.remove(*this);
}

}  // namespace onloop::detail
