// The native loop on epoll(7), level-triggered.
//
// Traps that shape it. Epoll reports HUP and ERR whether asked or not, so a watch without interest leaves the set. An
// event that was fetched may belong to a watch that a callback has removed since: each batch lives on the stack of its
// turn, and a removal blanks what is left of it there. After fork the set is shared with the parent.

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "shims/native/native.hpp"
#include "shims/native/wait.hpp"

namespace onloop::native_loop {
namespace {

constexpr int kBatch = 256;  // events fetched a turn; more ready descriptors wait their turn in the kernel's queue

struct EpollWatch {
  int fd;
  std::uint32_t interest;
  void* context;
};

struct Batch {
  Batch* outer;
  int next;
  int count;
  bool detached;
  epoll_event events[kBatch];
};

struct EpollLoop {
  onloop_guest guest;
  int set;
  bool abandoned = false;
  bool has_pwait2 = true;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  Batch* batch = nullptr;  // of the innermost turn on the stack
};

EpollLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<EpollLoop*>(loop);
}
EpollWatch& self(onloop_watch* watch) {
  return *reinterpret_cast<EpollWatch*>(watch);
}

std::uint32_t events_of(std::uint32_t interest) {
  return ((interest & ONLOOP_READ) ? EPOLLIN : 0u) | ((interest & ONLOOP_WRITE) ? EPOLLOUT : 0u);
}

std::uint32_t readiness_of(std::uint32_t events, std::uint32_t interest) {
  if (events & (EPOLLERR | EPOLLHUP)) return interest;
  return interest & (((events & EPOLLIN) ? ONLOOP_READ : 0u) | ((events & EPOLLOUT) ? ONLOOP_WRITE : 0u));
}

int control(EpollLoop& loop, int operation, EpollWatch& watch, std::uint32_t interest) {
  epoll_event event{};
  event.events = events_of(interest);
  event.data.ptr = &watch;
  return epoll_ctl(loop.set, operation, watch.fd, &event) == 0 ? 0 : -errno;
}

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (foreign) return -EINVAL;
  const int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return -errno;
  auto* made = new (std::nothrow) EpollLoop{.guest = *guest, .set = set};
  if (!made) {
    close(set);
    return -ENOMEM;
  }
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  EpollLoop& own = self(loop);
  if (!own.abandoned) close(own.set);
  if (!own.batch) {
    delete &own;
    return;
  }
  for (Batch* batch = own.batch; batch; batch = batch->outer) batch->detached = true;
}

void abandon(onloop_loop* loop) {
  EpollLoop& own = self(loop);
  own.abandoned = true;
  close(own.set);  // the child's reference; the set lives on in the parent
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) {
  auto* made = new (std::nothrow) EpollWatch{fd, interest, watch_context};
  if (!made) return -ENOMEM;
  const int result = interest ? control(self(loop), EPOLL_CTL_ADD, *made, interest) : 0;
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
  const int operation = !interest ? EPOLL_CTL_DEL : !own.interest ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (const int result = control(self(loop), operation, own, interest); result < 0) return result;
  own.interest = interest;
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  EpollLoop& own = self(loop);
  EpollWatch& gone = self(watch);
  if (gone.interest && !own.abandoned) control(own, EPOLL_CTL_DEL, gone, 0);
  for (Batch* batch = own.batch; batch; batch = batch->outer) {
    for (int i = batch->next; i < batch->count; ++i) {
      if (batch->events[i].data.ptr == &gone) batch->events[i].data.ptr = nullptr;
    }
  }
  delete &gone;
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) {
  self(loop).deadline = at_ns;
  return 0;
}

int wait(EpollLoop& loop, epoll_event* events, std::int64_t max_wait_ns) {
  Wait limit(max_wait_ns, loop.deadline);
  for (;;) {
    const timespec* left = limit.remaining();
    int count = 0;
    if (!left) {
      count = epoll_wait(loop.set, events, kBatch, -1);
    } else if (!left->tv_sec && !left->tv_nsec) {
      count = epoll_wait(loop.set, events, kBatch, 0);
    } else if (loop.has_pwait2) {
      count = epoll_pwait2(loop.set, events, kBatch, left, nullptr);
      if (count < 0 && (errno == ENOSYS || errno == EPERM)) {  // before Linux 5.11, or filtered by an old sandbox
        loop.has_pwait2 = false;
        continue;
      }
    } else {
      constexpr time_t kMaxSeconds = 1'000'000;  // an early end is harmless: the deadline is looked at again
      const time_t seconds = std::min(left->tv_sec, kMaxSeconds);
      count = epoll_wait(loop.set, events, kBatch,
                         static_cast<int>(seconds * 1000 + (left->tv_nsec + 999'999) / 1'000'000));
    }
    if (count >= 0) return count;
    if (errno != EINTR) return -errno;
  }
}

int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  EpollLoop& own = self(loop);
  Batch batch;  // events are not cleared: wait() fills the first `count`
  batch.count = wait(own, batch.events, max_wait_ns);
  if (batch.count < 0) return batch.count;
  batch.outer = own.batch;
  batch.next = 0;
  batch.detached = false;
  own.batch = &batch;

  if (own.deadline != ONLOOP_NO_DEADLINE && now_ns() >= own.deadline) {
    own.deadline = ONLOOP_NO_DEADLINE;
    own.guest.on_deadline(own.guest.context);
  }
  while (!batch.detached && batch.next < batch.count) {
    const epoll_event& event = batch.events[batch.next++];
    const auto* watch = static_cast<const EpollWatch*>(event.data.ptr);
    if (!watch) continue;
    const std::uint32_t readiness = readiness_of(event.events, watch->interest);
    if (readiness) own.guest.on_ready(watch->context, readiness);
  }

  own.batch = batch.outer;
  if (batch.detached && !batch.outer) delete &own;
  return 0;
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
