// The native loop on epoll(7), level-triggered.
//
// Traps of epoll that shape it:
// - epoll reports HUP and ERR also if nobody asked for them. Therefore a watch without interest leaves the set.
// - An event that was fetched may belong to a watch that a callback has removed since. Therefore a removal also strikes
//   the watch from the batch.
// - A turn that a callback starts takes the batch over. The kernel reports again what the outer turn had left, since
//   the set is level-triggered.
// - After a fork the set is shared with the parent.
// - An entry of the set is a file together with its number. If the application closes a watched descriptor but not the
//   file (a dup, a forked child), the entry stays in the set and can't be named any more. The watch to which the entry
//   points then lives as long as the loop.

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "shims/guest.hpp"
#include "shims/native/native.hpp"
#include "shims/native/wait.hpp"
#include "shims/transient.hpp"

namespace onloop::native_loop {
namespace {

constexpr int kBatch = 256;  // the most events that a turn fetches; the kernel keeps the others in its queue

struct EpollWatch {
  int fd;
  std::uint16_t interest;
  bool is_stale;  // the set may have an entry for it under a number that is gone
  void* context;  // in a watch that is removed and stale: the next such watch
};
static_assert(sizeof(EpollWatch) == 16, "each connection has one");

constinit EpollWatch removed{-1, ONLOOP_NONE, false, nullptr};  // stands in a batch for a removed watch; never written

struct EpollLoop {
  onloop_guest guest;
  int set;
  bool abandoned = false;
  bool detached = false;
  bool has_pwait2 = true;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  EpollWatch* stale = nullptr;  // watches that are removed but must not be freed before the set
  int turns = 0;  // how many turns are on the stack; the outermost frees the loop if detach was called meanwhile
  epoll_event* next = events;  // the batch: the events from here to `end` are not reported yet
  epoll_event* end = events;
  epoll_event events[kBatch];
};

EpollLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<EpollLoop*>(loop);
}
EpollWatch& self(onloop_watch* watch) {
  return *reinterpret_cast<EpollWatch*>(watch);
}

std::uint32_t events_of(std::uint32_t interest) {
  return ((interest & ONLOOP_READ) ? EPOLLIN : 0u) | ((interest & ONLOOP_WRITE) ? EPOLLOUT : 0u) |
         ((interest & ONLOOP_PRIORITY) ? EPOLLPRI : 0u);
}

std::uint32_t readiness_of(std::uint32_t events, std::uint32_t interest) {
  if (events == EPOLLIN) [[likely]]
    return interest & ONLOOP_READ;
  if (events & (EPOLLERR | EPOLLHUP)) return interest;
  return interest & (((events & EPOLLIN) ? ONLOOP_READ : 0u) | ((events & EPOLLOUT) ? ONLOOP_WRITE : 0u) |
                     ((events & EPOLLPRI) ? ONLOOP_PRIORITY : 0u));
}

int control(EpollLoop& loop, int operation, EpollWatch& watch, std::uint32_t interest) {
  epoll_event event{};
  event.events = events_of(interest);
  event.data.ptr = &watch;
  return epoll_ctl(loop.set, operation, watch.fd, &event) == 0 ? 0 : -errno;
}

/// Adds or modifies the entry of a watch, whatever the set has under its number. The set may have nothing there: the
/// application has closed the watched file, and the number is now that of another file. Or the set may have an entry
/// there already: the application has put back a file that was in the set before.
int put(EpollLoop& loop, bool is_new, EpollWatch& watch, std::uint32_t interest) {
  const int result = control(loop, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, watch, interest);
  if (result != (is_new ? -EEXIST : -ENOENT)) return result;
  return control(loop, is_new ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch, interest);
}

/// @return False if the number is no longer that of the watched file. If that file is still open elsewhere, by a dup or
/// in a forked child, it stays in the set, and nothing can take it out.
bool take_out(EpollLoop& loop, EpollWatch& watch) {
  const int result = control(loop, EPOLL_CTL_DEL, watch, ONLOOP_NONE);
  return result != -ENOENT && result != -EBADF;
}

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (foreign) return -EINVAL;
  const int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return -errno;
  auto* made = new (std::nothrow) EpollLoop{.guest = copy_of(*guest), .set = set, .events = {}};
  if (!made) {
    close(set);
    return -ENOMEM;
  }
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  EpollLoop& own = self(loop);
  while (EpollWatch* gone = own.stale) {
    own.stale = static_cast<EpollWatch*>(gone->context);
    delete gone;
  }
  close(own.set);  // after abandon the set continues to exist in the parent
  own.detached = true;
  own.end = own.next;
  if (own.turns == 0) delete &own;
}

/// The set stays open until detach. Under aggregate hosting another loop watches it.
void abandon(onloop_loop* loop) {
  self(loop).abandoned = true;
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) {
  auto* made = new (std::nothrow) EpollWatch{fd, static_cast<std::uint16_t>(interest), false, watch_context};
  if (!made) return -ENOMEM;
  const int result = interest ? put(self(loop), true, *made, interest) : 0;
  if (result < 0) {
    delete made;
    return result;
  }
  *watch = reinterpret_cast<onloop_watch*>(made);
  return 0;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  EpollWatch& own = self(watch);
  if (interest == own.interest) return 0;
  if (!interest) {
    if (!take_out(self(loop), own)) own.is_stale = true;
  } else if (const int result = put(self(loop), !own.interest, own, interest); result < 0) {
    return result;
  }
  own.interest = static_cast<std::uint16_t>(interest);
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  EpollLoop& own = self(loop);
  EpollWatch& gone = self(watch);
  if (gone.interest && !own.abandoned && !take_out(own, gone)) gone.is_stale = true;
  for (epoll_event* event = own.next; event != own.end; ++event) {
    if (event->data.ptr == &gone) event->data.ptr = &removed;
  }
  if (gone.is_stale) {  // the kernel may still report events of it
    gone.interest = ONLOOP_NONE;
    gone.context = std::exchange(own.stale, &gone);
  } else {
    delete &gone;
  }
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) {
  self(loop).deadline = at_ns;
  return 0;
}

/// The general case: a deadline, a limit, or an interrupted wait.
[[gnu::noinline]] int wait_until_due(EpollLoop& loop, std::int64_t max_wait_ns) {
  Wait limit(max_wait_ns, loop.deadline);
  for (;;) {
    const timespec* left = limit.remaining();
    int count = 0;
    if (!left) {
      count = epoll_wait(loop.set, loop.events, kBatch, -1);
    } else if (!left->tv_sec && !left->tv_nsec) {
      count = epoll_wait(loop.set, loop.events, kBatch, 0);
    } else if (loop.has_pwait2) {
      count = epoll_pwait2(loop.set, loop.events, kBatch, left, nullptr);
      if (count < 0 && (errno == ENOSYS || errno == EPERM)) {  // before Linux 5.11, or an old sandbox filters the call
        loop.has_pwait2 = false;
        continue;
      }
    } else {
      constexpr time_t kMaxSeconds = 1'000'000;  // an early end is harmless: the deadline is compared again
      const time_t seconds = std::min(left->tv_sec, kMaxSeconds);
      const long milliseconds = seconds * 1000 + (left->tv_nsec + 999'999) / 1'000'000;
      count = epoll_wait(loop.set, loop.events, kBatch, static_cast<int>(milliseconds));
    }
    if (count >= 0) return count;
    if (errno == EINTR) continue;
    if (!is_transient(errno)) return -errno;
    rest_a_moment(max_wait_ns);
  }
}

inline void begin_batch(EpollLoop& own, int count) {
  ++own.turns;
  own.next = own.events;
  own.end = own.events + count;
}

[[gnu::always_inline]] inline int report_batch(EpollLoop& own) {
  while (own.next != own.end) {
    const epoll_event& event = *own.next++;
    const auto& watch = *static_cast<const EpollWatch*>(event.data.ptr);
    const std::uint32_t ready = readiness_of(event.events, watch.interest);
    if (ready) [[likely]]
      own.guest.on_ready(watch.context, ready);
  }
  --own.turns;
  if (own.detached && own.turns == 0) delete &own;
  return 0;
}

/// Fetches what is ready now, without a wait, for a turn inside another loop.
int look(EpollLoop& loop) {
  for (;;) {
    const int count = epoll_wait(loop.set, loop.events, kBatch, 0);
    if (count >= 0) return count;
    if (errno == EINTR) continue;
    if (!is_transient(errno)) return -errno;
    rest_a_moment(0);
    return 0;  // nothing is known to be ready
  }
}

[[gnu::noinline]] int timed_turn(EpollLoop& own, std::int64_t max_wait_ns) {
  const int count = max_wait_ns == 0 ? look(own) : wait_until_due(own, max_wait_ns);
  if (count < 0) return count;
  begin_batch(own, count);
  if (own.deadline != ONLOOP_NO_DEADLINE && now_ns() >= own.deadline) {
    own.deadline = ONLOOP_NO_DEADLINE;
    own.guest.on_deadline(own.guest.context);
  }
  return report_batch(own);
}

[[gnu::noinline]] int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  EpollLoop& own = self(loop);
  if (max_wait_ns >= 0 || own.deadline != ONLOOP_NO_DEADLINE) return timed_turn(own, max_wait_ns);
  const int count = epoll_wait(own.set, own.events, kBatch, -1);
  if (count < 0) return timed_turn(own, -1);
  begin_batch(own, count);
  return report_batch(own);
}

int descriptor(onloop_loop* loop) {
  return self(loop).set;
}

}  // namespace

const onloop_ops& epoll_ops() noexcept {
  static constexpr onloop_ops kOps{.version = ONLOOP_OPS_VERSION,
                                   .struct_size = sizeof(onloop_ops),
                                   .name = "native",
                                   .attach = attach,
                                   .detach = detach,
                                   .watch_add = watch_add,
                                   .watch_set = watch_set,
                                   .watch_remove = watch_remove,
                                   .deadline_set = deadline_set,
                                   .priority_set = nullptr,
                                   .keepalive = nullptr,
                                   .run = nullptr,
                                   .stop = nullptr,
                                   .turn = turn,
                                   .abandon = abandon,
                                   .fd = descriptor};
  return kOps;
}

}  // namespace onloop::native_loop
