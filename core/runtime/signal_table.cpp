#include "core/runtime/signal_table.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core/base/error.hpp"
#include "core/base/process_mark.hpp"
#include "core/runtime/mailbox.hpp"

namespace onloop::detail {

// Others have handlers of the same signal, and most of them call nobody: GLib's, libuv's and libevent's end with
// whoever has come last. So a chain is kept, and looked after:
//
// - Our handler calls the one that it has replaced, its former.
// - If somebody has installed a handler above ours since, ours goes above it as well, as another entry: each entry has
// a
//   function and a former of its own. A handler below that calls its predecessor finds the lower entry, and no circle.
//   One that puts its predecessor back when it ends takes itself out of the chain by that.
// - If somebody has put the default in the place of ours while it is watched, ours goes there again.
// - An entry that the kernel calls while nobody watches takes itself out, and lets the signal come again: to whom it
// has
//   replaced, or as the default. One that a handler above it calls does nothing by default, since without us that
//   handler would have found no handler to call.

/// The handler reads without a lock; who writes holds one, and waits for the handlers that are running before memory
/// goes.
struct SignalTable {
  static constexpr unsigned kEntries = 3;  // of ours in a chain; what comes above the last is left there
  static constexpr int kNone = -1;

  struct Entry {
    // One of two. Handlers may be reading it while the other is filled in.
    std::atomic<const struct sigaction*> former{nullptr};
    struct sigaction formers[2]{};
  };

  struct Row {
    std::atomic<SignalSubscription*> first{nullptr};
    std::array<Entry, kEntries> entries;
    int highest = kNone;  // entry that the kernel or somebody else's handler may still call
  };

  struct Noted {
    bool watched;
    struct sigaction former;
  };

  std::mutex mutex;
  sigset_t mask{};  // of the thread that has locked, before it did
  bool fork_is_foreseen = false;
  std::atomic<ProcessMark> process{0};      // that has locked last
  std::atomic<unsigned> running{0};         // handlers that are at the subscriptions
  std::atomic<std::uint64_t> rows_used{0};  // of number n, bit n - 1: watched, or with an entry in a chain
  std::array<Row, NSIG> rows;

  static void handle(unsigned entry, int number, siginfo_t* info, void* context) noexcept;
  void lock();
  void unlock() noexcept;
  void foresee_forks();
  Row& row(int number) noexcept { return rows[static_cast<std::size_t>(number)]; }
  Noted note(int number, unsigned entry, bool told) noexcept;
  bool take_out(int number, unsigned entry, siginfo_t* info) noexcept;
  void install(int number, unsigned entry, const struct sigaction& former);
  void keep_installed(int number, bool begins);
  void restore(int number) noexcept;
  void add(SignalSubscription& added);
  static void unlink(SignalSubscription& removed) noexcept;
  void remove(SignalSubscription& removed) noexcept;
  void look_after(int number) noexcept;
  void note_use(int number) noexcept;
};

namespace {

constinit SignalTable table;
/// Of number n, bit e: this thread is in the former of entry e, unless that has left by a jump. Not made at its first
/// use, which would allocate in a handler.
[[gnu::tls_model("initial-exec")]] constinit thread_local unsigned char in_former[NSIG]{};

template <unsigned Number>
void entry_function(int number, siginfo_t* info, void* context) {
  SignalTable::handle(Number, number, info, context);
}
using EntryFunction = void (*)(int, siginfo_t*, void*);
constexpr std::array<EntryFunction, SignalTable::kEntries> kEntryFunctions{entry_function<0>, entry_function<1>,
                                                                           entry_function<2>};

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

bool is_default(const struct sigaction& action) noexcept {
  return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL;
}
bool is_ignored(const struct sigaction& action) noexcept {
  return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_IGN;
}
bool calls(const struct sigaction& action) noexcept {
  return !is_default(action) && !is_ignored(action);
}
/// Which entry of ours it is.
int entry_of(const struct sigaction& action) noexcept {
  if (!(action.sa_flags & SA_SIGINFO)) return SignalTable::kNone;
  for (unsigned entry = 0; entry < SignalTable::kEntries; ++entry) {
    if (action.sa_sigaction == kEntryFunctions[entry]) return static_cast<int>(entry);
  }
  return SignalTable::kNone;
}
int entry_in_kernel(int number) noexcept {
  struct sigaction current {};
  return sigaction(number, nullptr, &current) < 0 ? SignalTable::kNone : entry_of(current);
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
  if (former.sa_flags & SA_SIGINFO) {
    former.sa_sigaction(number, info, context);
  } else {
    former.sa_handler(number);
  }
}

/// In the handler: the signal comes once more when it returns, with all that came along with it.
void come_again(int number, siginfo_t* info) noexcept {
  if (!info || syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), number, info) < 0) raise(number);
}

}  // namespace

void SignalTable::handle(unsigned entry, int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  unsigned char& in = in_former[number];
  const auto is_in = [&in](unsigned one) { return (in >> one & 1) != 0; };
  const int kernels = entry_in_kernel(number);
  const bool by_kernel = kernels == static_cast<int>(entry) && !is_in(entry);
  // Not told twice by one signal, which has come through an entry above this.
  const bool told = kernels > static_cast<int>(entry) && is_in(static_cast<unsigned>(kernels));
  // Somebody below has found this entry when it was installed once more: what is below is the next one's.
  unsigned next = entry;
  while (next > 0 && is_in(next)) --next;
  const Noted noted = table.note(number, next, told);  // first, since the former handler may never return
  if (noted.watched || !by_kernel || !table.take_out(number, entry, info)) {
    if (calls(noted.former) && !is_in(next)) {
      const auto bit = static_cast<unsigned char>(1u << next);
      in |= bit;
      call(noted.former, number, info, context);
      in &= static_cast<unsigned char>(~bit);
    }
  }
  errno = saved;
}

/// In the handler: tells those that watch it. Meanwhile no other handler may interrupt, which might jump away from
/// here, or fork: the child's count is zero.
SignalTable::Noted SignalTable::note(int number, unsigned entry, bool told) noexcept {
  const sigset_t all = all_signals();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &all, &before);
  running.fetch_add(1);
  const SignalSubscription* each = row(number).first.load();
  const Noted noted{each != nullptr, *row(number).entries[entry].former.load()};
  for (; each && !told; each = each->next_.load()) each->mailbox_->note_signal(number);
  running.fetch_sub(1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return noted;
}

/// In the handler, that the kernel has called while nobody watches: somebody who came after us has put it back. False
/// if it stays, since a watch begins or another handler came. It may lock, since no handler interrupts who has locked.
bool SignalTable::take_out(int number, unsigned entry, siginfo_t* info) noexcept {
  const std::lock_guard guard(*this);
  if (row(number).first.load() || entry_in_kernel(number) != static_cast<int>(entry)) return false;
  restore(number);
  come_again(number, info);
  return true;
}

/// With every signal blocked, since a former handler may fork, which locks.
void SignalTable::lock() {
  const sigset_t all = all_signals();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &all, &before);
  if (const ProcessMark locked_last = process.load();
      locked_last != 0 && locked_last != this_process()) {  // forked by clone(2): others may have been at it
    std::construct_at(&mutex);
    running.store(0);
  }
  mutex.lock();
  process.store(this_process());
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
                                     table.process.store(this_process());
                                     table.unlock();
                                   });
  if (error != 0) throw_error(error, "watch a signal");
  fork_is_foreseen = true;
}

void SignalTable::install(int number, unsigned entry, const struct sigaction& former) {
  Entry& used = row(number).entries[entry];
  struct sigaction& free = &used.formers[0] == used.former.load() ? used.formers[1] : used.formers[0];
  free = former;
  used.former.store(&free);
  struct sigaction ours {};
  ours.sa_sigaction = kEntryFunctions[entry];
  ours.sa_mask = former.sa_mask;
  ours.sa_flags = SA_SIGINFO | (former.sa_flags & (SA_ONSTACK | SA_NOCLDSTOP | SA_NOCLDWAIT));
  ours.sa_flags |= calls(former) ? former.sa_flags & SA_RESTART : SA_RESTART;
  if (number == SIGCHLD && is_ignored(former)) ours.sa_flags |= SA_NOCLDWAIT;  // which is what that means
  if (sigaction(number, &ours, nullptr) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  row(number).highest = static_cast<int>(entry);
}

/// Where it is watched: ours is what the kernel calls. A signal that the application has set to be ignored stays so
/// until the next watch begins.
void SignalTable::keep_installed(int number, bool begins) {
  Row& row = this->row(number);
  struct sigaction current {};
  if (sigaction(number, nullptr, &current) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  if (const int entry = entry_of(current); entry != kNone) {
    row.highest = entry;  // those above it have been taken out
    return;
  }
  if (!calls(current)) {
    if (begins || is_default(current)) install(number, 0, current);
    return;
  }
  for (int entry = row.highest; entry >= 0; --entry) {  // above the same handler it is the same entry
    const auto index = static_cast<unsigned>(entry);
    if (same(current, *row.entries[index].former.load())) return install(number, index, current);
  }
  if (const auto above = static_cast<unsigned>(row.highest + 1); above < kEntries) install(number, above, current);
}

/// Unless somebody has put a handler over ours, and may put ours back.
void SignalTable::restore(int number) noexcept {
  const int entry = entry_in_kernel(number);
  if (entry == kNone) return;
  sigaction(number, row(number).entries[static_cast<unsigned>(entry)].former.load(), nullptr);
  row(number).highest = entry - 1;
}

void SignalTable::note_use(int number) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (number - 1);
  const Row& row = this->row(number);
  if (row.first.load() || row.highest != kNone) {
    rows_used.fetch_or(bit);
  } else {
    rows_used.fetch_and(~bit);
  }
}

/// First in the list, then installed: a handler that finds nobody in the list takes itself out.
void SignalTable::add(SignalSubscription& added) {
  const std::lock_guard guard(*this);
  foresee_forks();
  Row& row = this->row(added.number_);
  added.next_.store(row.first.load());
  row.first.store(&added);
  try {
    keep_installed(added.number_, true);
  } catch (...) {
    unlink(added);
    throw;
  }
  note_use(added.number_);
}

/// What has happened to the handler since is set right. The kernel is asked first, without a lock.
void SignalTable::look_after(int number) noexcept try {
  const bool ours = entry_in_kernel(number) != kNone;
  if (ours == (row(number).first.load() != nullptr)) return;
  const std::lock_guard guard(*this);
  if (row(number).first.load()) {
    keep_installed(number, false);
  } else {
    restore(number);
  }
  note_use(number);
} catch (...) {  // what can't be set right now may be later
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
  note_use(removed.number_);
}

SignalSubscription::SignalSubscription(int number, std::shared_ptr<Mailbox> mailbox)
    : number_(number), mailbox_(std::move(mailbox)) {
  if (!can_be_watched(number))
    throw_error(EINVAL, "watch signal " + std::to_string(number) + ", which can't be watched");
  table.add(*this);
}

void SignalSubscription::look_after_all() noexcept {
  for (std::uint64_t used = table.rows_used.load(std::memory_order_relaxed); used != 0; used &= used - 1) {
    table.look_after(std::countr_zero(used) + 1);
  }
}

SignalSubscription::~SignalSubscription() {
  table.remove(*this);
}

}  // namespace onloop::detail
