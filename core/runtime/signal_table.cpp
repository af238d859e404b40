// The signal handlers of the library, and the table of all signal watches in the process.
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

// Other code may have handlers of the same signals. Most of them do not call the handler that they replaced: with GLib,
// libuv and libevent, only the handler that was installed last gets the signal. So this file keeps a chain of handlers
// for each watched signal, and repairs it when other code has changed it:
//
// - Our handler calls the handler that it has replaced. That one is its `former` handler.
// - If other code has since installed a handler above ours, ours is installed above that one, too, as another entry.
//   Each entry has its own function and its own former handler. If a handler below calls its predecessor, it calls the
//   lower entry, so the calls do not go in a circle. If a handler puts its predecessor back when it ends, it takes
//   itself out of the chain.
// - If other code has replaced ours with the default action while the signal is watched, ours is installed again.
// - If the kernel calls an entry while nobody watches the signal, the entry takes itself out of the chain and sends the
//   signal again. The signal then goes to the former handler, or its default action happens. If another handler calls
//   the entry instead, the default action does not happen: without us, that handler would have found no handler to
//   call.

/// All signal watches of the process, and our entries in the chains of handlers. There is one table in the process.
///
/// A signal handler reads the table without a lock. A thread that changes the table holds the lock. Before it lets
/// memory be destroyed, it waits for the handlers that are running.
struct SignalTable {
  static constexpr unsigned kEntries = 3;  // our entries in one chain; a handler above the last one stays there
  static constexpr int kNone = -1;         // no entry

  /// One handler of ours in the chain of a signal.
  struct Entry {
    // Points to one of `formers`. Handlers may read that one while the other is filled in.
    std::atomic<const struct sigaction*> former{nullptr};
    struct sigaction formers[2]{};
  };

  /// Everything about one signal number.
  struct Row {
    std::atomic<SignalSubscription*> first{nullptr};  // the list of the watches
    std::array<Entry, kEntries> entries;
    int highest = kNone;  // the highest entry that the kernel or a handler of other code may still call
  };

  /// What note() found for an entry.
  struct Noted {
    bool watched;
    struct sigaction former;
  };

  std::mutex mutex;
  sigset_t mask{};                          // the signal mask that the locking thread had before it locked
  bool fork_is_foreseen = false;            // the handlers of pthread_atfork are installed
  std::atomic<ProcessMark> process{0};      // the process that has locked last
  std::atomic<unsigned> running{0};         // the number of handlers that are reading a list of watches
  std::atomic<std::uint64_t> rows_used{0};  // for signal n, bit n - 1: it is watched, or has an entry in a chain
  std::array<Row, NSIG> rows;               // the index is the signal number

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
/// For each signal number, bit e is set while this thread runs the former handler of entry e. The bit stays set if that
/// handler leaves by a jump (longjmp). With the initial-exec model the memory exists from the start of the thread.
/// Otherwise the first use could allocate memory in a signal handler.
[[gnu::tls_model("initial-exec")]] constinit thread_local unsigned char in_former[NSIG]{};

/// The function of an entry, which the kernel calls.
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
    case SIGSEGV:  // after a handler of these four returns, the same fault would happen again and again
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
/// True if the action calls a handler.
bool calls(const struct sigaction& action) noexcept {
  return !is_default(action) && !is_ignored(action);
}
/// The number of our entry whose function this is, or kNone.
int entry_of(const struct sigaction& action) noexcept {
  if (!(action.sa_flags & SA_SIGINFO)) return SignalTable::kNone;
  for (unsigned entry = 0; entry < SignalTable::kEntries; ++entry) {
    if (action.sa_sigaction == kEntryFunctions[entry]) return static_cast<int>(entry);
  }
  return SignalTable::kNone;
}
/// The number of our entry that the kernel calls for this signal, or kNone.
int entry_in_kernel(int number) noexcept {
  struct sigaction current {};
  return sigaction(number, nullptr, &current) < 0 ? SignalTable::kNone : entry_of(current);
}
/// True if both actions call the same handler.
bool same(const struct sigaction& one, const struct sigaction& other) noexcept {
  if ((one.sa_flags ^ other.sa_flags) & SA_SIGINFO) return false;
  return one.sa_flags & SA_SIGINFO ? one.sa_sigaction == other.sa_sigaction : one.sa_handler == other.sa_handler;
}

sigset_t all_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  return all;
}

/// Calls the handler of the action.
void call(const struct sigaction& former, int number, siginfo_t* info, void* context) noexcept {
  if (former.sa_flags & SA_SIGINFO) {
    former.sa_sigaction(number, info, context);
  } else {
    former.sa_handler(number);
  }
}

/// Sends the signal to this thread again, with the same siginfo_t. A handler calls it, and the signal comes when the
/// handler has returned.
void come_again(int number, siginfo_t* info) noexcept {
  if (!info || syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), number, info) < 0) raise(number);
}

}  // namespace

/// What the function of each entry does: notes the signal for its watches, and calls the former handler.
void SignalTable::handle(unsigned entry, int number, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  unsigned char& in = in_former[number];
  const auto is_in = [&in](unsigned one) { return (in >> one & 1) != 0; };
  const int kernels = entry_in_kernel(number);
  const bool by_kernel = kernels == static_cast<int>(entry) && !is_in(entry);
  // If the signal has come through a higher entry of ours, that entry has told the watches already. They are told once.
  const bool told = kernels > static_cast<int>(entry) && is_in(static_cast<unsigned>(kernels));
  // A handler below this entry may have been installed once more, have found this entry as its predecessor, and call it
  // now. Then this thread is in the former handler of this entry already. The former handler of the next lower entry is
  // the one to call.
  unsigned next = entry;
  while (next > 0 && is_in(next)) --next;
  const Noted noted = table.note(number, next, told);  // first, as the former handler may never return
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

/// Tells the watches of the signal, unless `told` says that they were told already. A handler calls it.
///
/// All signals are blocked meanwhile. Another handler that interrupted here could jump away, and `running` would never
/// go down again. Or it could fork, and in the child `running` is set to zero while this handler is still counted.
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

/// Takes the entry out of the chain, and sends the signal again. A handler calls it if the kernel has called the entry
/// while nobody watches the signal. This happens when a handler that was installed after ours has put ours back.
///
/// Returns false and changes nothing if a watch has begun meanwhile, or another handler was installed. It may lock
/// within a signal handler, because a thread that holds the lock has all signals blocked.
bool SignalTable::take_out(int number, unsigned entry, siginfo_t* info) noexcept {
  const std::lock_guard guard(*this);
  if (row(number).first.load() || entry_in_kernel(number) != static_cast<int>(entry)) return false;
  restore(number);
  come_again(number, info);
  return true;
}

/// Locks the table and blocks all signals in this thread. Without that, a former handler could interrupt the thread and
/// fork. The fork handlers lock, too, so the thread would wait for itself.
void SignalTable::lock() {
  const sigset_t all = all_signals();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &all, &before);
  if (const ProcessMark locked_last = process.load();
      locked_last != 0 && locked_last != this_process()) {  // a child of clone(2): the parent may have held the lock
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

/// Installs fork handlers, once in a process. A child must find neither the lock held nor handlers counted in `running`
/// by threads that the child does not have. The one thread that the child has is not counted: while a handler is
/// counted, all signals are blocked, and it does not fork.
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

/// Makes the entry the handler that the kernel calls, with `former` as its former handler. Throws std::system_error.
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
  if (number == SIGCHLD && is_ignored(former)) ours.sa_flags |= SA_NOCLDWAIT;  // ignoring means: no zombies
  if (sigaction(number, &ours, nullptr) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  row(number).highest = static_cast<int>(entry);
}

/// Makes sure that the kernel calls one of our entries for a watched signal. If the application has set the signal to
/// be ignored, it stays ignored until the next watch begins. Throws std::system_error.
///
/// @param begins A watch begins now.
void SignalTable::keep_installed(int number, bool begins) {
  Row& row = this->row(number);
  struct sigaction current {};
  if (sigaction(number, nullptr, &current) < 0) throw_error(errno, "watch signal " + std::to_string(number));
  if (const int entry = entry_of(current); entry != kNone) {
    row.highest = entry;  // the entries above it have been taken out of the chain
    return;
  }
  if (!calls(current)) {
    if (begins || is_default(current)) install(number, 0, current);
    return;
  }
  for (int entry = row.highest; entry >= 0; --entry) {  // the entry that was above this handler goes above it again
    const auto index = static_cast<unsigned>(entry);
    if (same(current, *row.entries[index].former.load())) return install(number, index, current);
  }
  if (const auto above = static_cast<unsigned>(row.highest + 1); above < kEntries) install(number, above, current);
}

/// Puts the former handler back, if the kernel calls an entry of ours. If other code has installed a handler above
/// ours, this does nothing, because that code may put ours back later.
void SignalTable::restore(int number) noexcept {
  const int entry = entry_in_kernel(number);
  if (entry == kNone) return;
  sigaction(number, row(number).entries[static_cast<unsigned>(entry)].former.load(), nullptr);
  row(number).highest = entry - 1;
}

/// Updates rows_used for the signal.
void SignalTable::note_use(int number) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (number - 1);
  const Row& row = this->row(number);
  if (row.first.load() || row.highest != kNone) {
    rows_used.fetch_or(bit);
  } else {
    rows_used.fetch_and(~bit);
  }
}

/// Adds a watch to the list, and then installs our handler. The order matters: a handler that finds no watch in the
/// list takes itself out of the chain.
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

/// Repairs the chain of the signal after other code has changed the handler. It asks the kernel first, without the
/// lock, and needs the lock only if something is wrong.
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
} catch (...) {  // what can't be repaired now may be repaired by a later call
}

/// Takes a watch out of its list, and waits until no handler can be using it.
void SignalTable::unlink(SignalSubscription& removed) noexcept {
  std::atomic<SignalSubscription*>* link = &table.row(removed.number_).first;
  while (link->load() != &removed) link = &link->load()->next_;
  link->store(removed.next_.load());
  while (table.running.load() != 0) sched_yield();  // a running handler may still read the removed watch
}

/// Removes a watch. The last watch of a signal puts the former handler back first.
void SignalTable::remove(SignalSubscription& removed) noexcept {
  const std::lock_guard guard(*this);
  if (row(removed.number_).first.load() == &removed && !removed.next_.load()) restore(removed.number_);
  unlink(removed);
  note_use(removed.number_);
}

SignalSubscription::SignalSubscription(int number, std::shared_ptr<Mailbox> mailbox)
    : number_(number), mailbox_(std::move(mailbox)) {
  if (!can_be_watched(number))
    throw_error(EINVAL, "watch signal " + std::to_string(number) + ": it is no signal, or can't be watched");
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
