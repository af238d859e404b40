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
    // One of two. Handlers may be reading it while the other is filled in; until it is this one's turn again, the last
    // watch has ended, which waits for them.
    std::atomic<const struct sigaction*> former{nullptr};
    struct sigaction formers[2]{};
    bool installed = false;  // perhaps beneath somebody else's handler
  };

  struct Noted {
    bool watched;
    struct sigaction former;
  };

  std::mutex mutex;
  sigset_t mask{};  // of the thread that has locked, before it did
  bool fork_is_foreseen = false;
  std::atomic<unsigned> running{0};  // handlers that are at the subscriptions
  std::array<Row, NSIG> rows;

  static void handle(int number, siginfo_t* info, void* context) noexcept;
  void lock();
  void unlock() noexcept;
  void foresee_forks();
  Row& row(int number) noexcept { return rows[static_cast<std::size_t>(number)]; }
  Noted note(int number) noexcept;
  void install(int number);
  void restore(int number) noexcept;
  void add(SignalSubscription& added);
  static void unlink(SignalSubscription& removed) noexcept;
  void remove(SignalSubscription& removed) noexcept;
};

namespace {

constinit SignalTable table;
/// Somebody above us in a chain that comes back to us. Not made at its first use, which would allocate in a handler.
[[gnu::tls_model("initial-exec")]] constinit thread_local bool handling[NSIG]{};

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

bool nothing_by_default(int number) noexcept {
  return number == SIGCHLD || number == SIGCONT || number == SIGURG || number == SIGWINCH;
}

bool is_default(const struct sigaction& action) noexcept {
  return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL;
}
bool is_ignored(const struct sigaction& action) noexcept {
  return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN;
}
bool calls(const struct sigaction& action) noexcept {
  return !is_default(action) && !is_ignored(action);
}
bool is_ours(const struct sigaction& action) noexcept {
  return (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == &SignalTable::handle;
}
bool same(const struct sigaction& one, const struct sigaction& other) noexcept {
  if ((one.sa_flags ^ other.sa_flags) & SA_SIGINFO) return false;
  return one.sa_flags & SA_SIGINFO ? one.sa_sigaction == other.sa_sigaction : one.sa_handler == other.sa_handler;
}

sigset_t all_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  return all;
}

void call(const struct sigaction& former, int number, siginfo_t* info, void* context) noexcept {
  if (!calls(former) || handling[number]) return;
  handling[number] = true;
  if (former.sa_flags & SA_SIGINFO) {
    former.sa_sigaction(number, info, context);
  } else {
    former.sa_handler(number);
  }
  handling[number] = false;
}

/// In the handler. Whatever is installed, perhaps somebody's handler that has called ours, stays for a process that
/// survives.
void do_default(int number) noexcept {
  if (nothing_by_default(number)) return;
  const struct sigaction by_default {};
  struct sigaction current {};
  sigset_t this_one, before;
  sigemptyset(&this_one);
  sigaddset(&this_one, number);
  if (sigaction(number, &by_default, &current) < 0) return;
  raise(number);
  pthread_sigmask(SIG_UNBLOCK, &this_one, &before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  sigaction(number, &current, nullptr);
}

}  // namespace

void SignalTable::handle(int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  const Noted noted = table.note(number);  // first, since the former handler may never return
  call(noted.former, number, info, context);
  // Nobody watches it, but somebody who came after us has put our handler back. Or a watch begins: ask again.
  if (!noted.watched && is_default(noted.former) && !table.note(number).watched) do_default(number);
  errno = saved;
}

/// In the handler: tells those that watch it. Meanwhile no other handler may interrupt, which might jump away from
/// here, or fork: the child's count is zero.
SignalTable::Noted SignalTable::note(int number) noexcept {
  const sigset_t all = all_signals();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &all, &before);
  running.fetch_add(1);
  const SignalSubscription* each = row(number).first.load();
  const Noted noted{each != nullptr, *row(number).former.load()};
  for (; each; each = each->next_.load()) each->mailbox_->note_signal(number);
  running.fetch_sub(1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return noted;
}

/// With every signal blocked, since a former handler may fork, which locks.
void SignalTable::lock() {
  const sigset_t all = all_signals();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &all, &before);
  mutex.lock();
  mask = before;
}

void SignalTable::unlock() noexcept {
  const sigset_t before = mask;
  mutex.unlock();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

/// A child must find neither the lock held nor handlers running, in threads that it has not got. The one that it has
/// is in no counted part of a handler, where it could not have forked.
void SignalTable::foresee_forks() {
  if (fork_is_foreseen) return;
  const int error = pthread_atfork([] { table.lock(); }, [] { table.unlock(); },
                                   [] {
                                     table.running.store(0);
                                     table.unlock();
                                   });
  if (error != 0) throw_error(error, "watch a signal");
  fork_is_foreseen = true;
}

void SignalTable::install(int number) {
  Row& row = this->row(number);
  struct sigaction current {};
  if (sigaction(number, nullptr, &current) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  if (is_ours(current)) {
    row.installed = true;
    return;
  }
  // A handler that came after ours may call it. Above it, ours would be called twice, and so would that one; and what
  // was there before either, never again. If it does not call ours, it has the signal.
  if (row.installed && calls(current) && !same(current, *row.former.load())) return;

  struct sigaction& former = &row.formers[0] == row.former.load() ? row.formers[1] : row.formers[0];
  former = current;
  row.former.store(&former);
  struct sigaction ours {};
  ours.sa_sigaction = &SignalTable::handle;
  ours.sa_mask = current.sa_mask;
  ours.sa_flags = SA_SIGINFO | (current.sa_flags & (SA_ONSTACK | SA_NOCLDSTOP | SA_NOCLDWAIT));
  ours.sa_flags |= calls(current) ? current.sa_flags & SA_RESTART : SA_RESTART;
  if (number == SIGCHLD && is_ignored(current)) ours.sa_flags |= SA_NOCLDWAIT;  // which is what that means
  if (sigaction(number, &ours, nullptr) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  row.installed = true;
}

/// Unless somebody has put a handler over ours, and may put ours back.
void SignalTable::restore(int number) noexcept {
  Row& row = this->row(number);
  struct sigaction current {};
  if (!row.installed || sigaction(number, nullptr, &current) < 0) return;
  if (!is_ours(current)) return;
  sigaction(number, row.former.load(), nullptr);
  row.installed = false;
}

/// First in the list, then installed: a handler that finds nobody in the list does what the signal does by default.
void SignalTable::add(SignalSubscription& added) {
  const std::lock_guard guard(*this);
  foresee_forks();
  Row& row = this->row(added.number_);
  const bool is_first = !row.first.load();
  added.next_.store(row.first.load());
  row.first.store(&added);
  if (!is_first) return;
  try {
    install(added.number_);
  } catch (...) {
    unlink(added);
    throw;
  }
}

void SignalTable::unlink(SignalSubscription& removed) noexcept {
  std::atomic<SignalSubscription*>* link = &table.row(removed.number_).first;
  while (link->load() != &removed) link = &link->load()->next_;
  link->store(removed.next_.load());
  while (table.running.load() != 0) sched_yield();  // they may still be at the one that goes
}

void SignalTable::remove(SignalSubscription& removed) noexcept {
  const std::lock_guard guard(*this);
  if (row(removed.number_).first.load() == &removed && !removed.next_.load()) restore(removed.number_);
  unlink(removed);
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
