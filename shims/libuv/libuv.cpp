// The shim for libuv's uv_loop_t, with one uv_poll_t for each watch.
//
// Traps of libuv that shape it:
// - A handle is not gone when uv_close returns. The loop makes the close callback in a later phase of its iteration.
//   Therefore a watch frees itself there, and from its removal on it points to nothing. The attachment is freed with
//   the last of its own handles.
// - libuv reports POLLERR as UV_EBADF and stops the handle. The shim takes it as ready and starts the handle again.
// - uv_poll_init makes the descriptor non-blocking, for everybody who shares it.
// - Timers count whole milliseconds from the loop's time. That time stands still during an iteration. Therefore the
//   shim rounds up the moment, not the delay. The result is right whatever the loop's time is: a timer is never early,
//   and nobody else's uv_now() moves.
// - If a timer's callback sets a timer of 0 ms, the timer runs in the same pass, for ever. Therefore a deadline that
//   has passed waits for an idle handle. The idle handle runs before the next poll and keeps the poll from blocking.
//   After that it sets the timer.
// - UV_RUN_ONCE runs due timers and then blocks, although the timers were what it had to wait for. A loop without a
//   referenced active handle does not even poll. Therefore an owned loop has one timer for each wait, which calls
//   uv_stop.
// - uv_run must not be nested. Therefore the shim refuses a turn inside a turn. A loop that is freed inside its own
//   callback crashes. Therefore the outermost frame frees it.
// - libuv ends the process if it gets no pipe for its signals, or if the kernel has no memory for a descriptor.
//   Therefore the shim first tries both. A loop whose making fails leaves its epoll set open.
// - After a fork the epoll set is shared with the parent. Each stop or close of a handle takes a descriptor out of it;
//   see Decoy.

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>
#include <onloop/libuv.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

#include "shims/clock.hpp"
#include "shims/descriptors.hpp"
#include "shims/guest.hpp"

namespace onloop {
namespace {

struct Watch {
  uv_poll_t poll;  // its data is the attachment, or null after the removal of the watch
  Watch* next;
  Watch* previous;
  void* context;
  std::uint32_t interest;
};
static_assert(std::is_standard_layout_v<Watch>, "a uv_poll_t is cast to the watch that it begins");
static_assert(ONLOOP_READ == UV_READABLE && ONLOOP_WRITE == UV_WRITABLE);

/// UV_PRIORITIZED is 8, which is the value of ONLOOP_ERROR.
constexpr int events_of(std::uint32_t interest) {
  return static_cast<int>(interest & (ONLOOP_READ | ONLOOP_WRITE)) | (interest & ONLOOP_PRIORITY ? UV_PRIORITIZED : 0);
}
constexpr std::uint32_t readiness_of(int events) {
  return (static_cast<std::uint32_t>(events) & (ONLOOP_READ | ONLOOP_WRITE)) |
         (events & UV_PRIORITIZED ? ONLOOP_PRIORITY : 0u);
}

struct Attachment {
  onloop_guest guest;
  uv_loop_t* loop = nullptr;
  Watch* watches = nullptr;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  uv_timer_t timer{};  // for the deadline; on an owned loop, for the end of a wait
  uv_idle_t idle{};    // for a deadline that has passed; not used on an owned loop
  int handles = 0;     // how many of these two handles exist and are not closed yet
  bool owned = false;
  bool keepalive = true;
  bool abandoned = false;
  bool leaked = false;  // abandoned, and some handles could not be closed
  bool detached = false;
  // Only for an owned loop:
  bool turning = false;
  bool called = false;         // an up-call was made in this turn
  bool look_at_clock = false;  // before the next up-call, compare the deadline with the clock
};

Attachment& self(onloop_loop* loop) {
  return *reinterpret_cast<Attachment*>(loop);
}
Watch& self(onloop_watch* watch) {
  return *reinterpret_cast<Watch*>(watch);
}
template <class H>
uv_handle_t* handle(H& any) {
  return reinterpret_cast<uv_handle_t*>(&any);
}

/// @return The timeout for uv_timer_start that ends at `at_ns`. The loop's time is CLOCK_MONOTONIC in whole
/// milliseconds and may be old.
std::uint64_t timeout_until(const uv_loop_t* loop, std::uint64_t at_ns) {
  if (at_ns == ONLOOP_NO_DEADLINE) return UINT64_MAX;
  const std::uint64_t moment = at_ns / 1'000'000 + (at_ns % 1'000'000 != 0);
  return moment - std::min(moment, uv_now(loop));
}

// ---- watches ----

/// Calls on_deadline on an owned loop if the deadline has passed. This happens once in an iteration, before all other
/// up-calls.
void call_if_past_deadline(Attachment& own) {
  own.look_at_clock = false;
  if (own.detached || own.deadline == ONLOOP_NO_DEADLINE || now_ns() < own.deadline) return;
  own.deadline = ONLOOP_NO_DEADLINE;
  own.called = true;
  own.guest.on_deadline(own.guest.context);
}

void free_watch(uv_handle_t* poll) {
  delete reinterpret_cast<Watch*>(poll);
}

void on_poll(uv_poll_t* poll, int status, int events) {
  auto* own = static_cast<Attachment*>(poll->data);
  if (!own) return uv_close(handle(*poll), free_watch);  // a watch that a forked child could only forget
  if (own->look_at_clock) {
    call_if_past_deadline(*own);
    if (!poll->data) return;
  }
  const Watch& watch = *reinterpret_cast<Watch*>(poll);
  std::uint32_t readiness = readiness_of(events);
  if (status < 0) {
    readiness = watch.interest;
    if (readiness) uv_poll_start(poll, events_of(readiness), on_poll);
  }
  own->called = true;
  if (readiness &= watch.interest) own->guest.on_ready(watch.context, readiness);
}

void enlist(Attachment& own, Watch& watch) {
  watch.next = own.watches;
  watch.previous = nullptr;
  if (watch.next) watch.next->previous = &watch;
  own.watches = &watch;
}

void forget(Attachment& own, Watch& watch) {
  (watch.previous ? watch.previous->next : own.watches) = watch.next;
  if (watch.next) watch.next->previous = watch.previous;
  watch.poll.data = nullptr;
}

/// Calls uv_poll_init. If the descriptor was in blocking mode, this function sets it back to that mode.
int init_poll(uv_loop_t* loop, uv_poll_t& poll, int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  const int error = uv_poll_init(loop, &poll, fd);
  if (error == 0 && !(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
  return error;
}

/// Adds a descriptor to the epoll set before libuv does so. libuv aborts if the kernel has no memory for the
/// descriptor. libuv only modifies an entry that is already in the set.
int reserve(const uv_loop_t* loop, int fd) {
  epoll_event event{};
  event.data.fd = fd;
  const bool known = fd < 0 || epoll_ctl(uv_backend_fd(loop), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
  return known ? 0 : -errno;
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) {
  Attachment& own = self(loop);
  auto* made = new (std::nothrow) Watch{};
  if (!made) return -ENOMEM;
  if (const int error = init_poll(own.loop, made->poll, fd); error < 0) {
    delete made;
    return error;
  }
  made->context = watch_context;
  made->interest = interest;
  int error = interest ? uv_poll_start(&made->poll, events_of(interest), on_poll) : 0;
  // Only for the first watch: under aggregate hosting it is the only one. For each of many watches this would cost one
  // more system call.
  if (error == 0 && interest && !own.watches) error = reserve(own.loop, fd);
  if (error < 0) {
    uv_close(handle(made->poll), free_watch);
    return error;
  }
  if (!own.keepalive) uv_unref(handle(made->poll));
  made->poll.data = &own;
  enlist(own, *made);
  *watch = reinterpret_cast<onloop_watch*>(made);
  return 0;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  Watch& own = self(watch);
  if (self(loop).abandoned || interest == own.interest) return 0;
  const int error = interest ? uv_poll_start(&own.poll, events_of(interest), on_poll) : uv_poll_stop(&own.poll);
  if (error == 0) own.interest = interest;
  return error;
}

void close_watch(Attachment& own, Watch& watch) {
  forget(own, watch);
  uv_close(handle(watch.poll), free_watch);
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  if (!self(loop).abandoned) close_watch(self(loop), self(watch));  // abandon has removed and perhaps freed the watch
}

int keepalive(onloop_loop* loop, int on) {
  Attachment& own = self(loop);
  own.keepalive = on != 0;
  for (Watch* watch = own.watches; watch; watch = watch->next) {
    if (own.keepalive) {
      uv_ref(handle(watch->poll));
    } else {
      uv_unref(handle(watch->poll));
    }
  }
  return 0;
}

// ---- the deadline on the application's loop ----

void arm(Attachment& own);

void on_timer(uv_timer_t* timer) {
  Attachment& own = *static_cast<Attachment*>(timer->data);
  if (now_ns() < own.deadline) return arm(own);  // early, since the loop has another clock
  own.deadline = ONLOOP_NO_DEADLINE;
  own.guest.on_deadline(own.guest.context);
}

void on_idle(uv_idle_t* idle) {
  uv_idle_stop(idle);
  uv_timer_start(&static_cast<Attachment*>(idle->data)->timer, on_timer, 0, 0);
}

void arm(Attachment& own) {
  uv_timer_stop(&own.timer);
  uv_idle_stop(&own.idle);
  if (own.deadline == ONLOOP_NO_DEADLINE) return;
  if (own.deadline <= now_ns()) {
    uv_idle_start(&own.idle, on_idle);
  } else {
    uv_timer_start(&own.timer, on_timer, timeout_until(own.loop, own.deadline), 0);
  }
}

/// The handles are made when a deadline is first set. Under aggregate hosting no deadline is set on this loop, so the
/// host has only one handle of ours.
void make_deadline_handles(Attachment& own) {
  uv_timer_init(own.loop, &own.timer);
  uv_idle_init(own.loop, &own.idle);
  own.timer.data = own.idle.data = &own;
  uv_unref(handle(own.timer));
  uv_unref(handle(own.idle));
  own.handles = 2;
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) {
  Attachment& own = self(loop);
  own.deadline = at_ns;
  if (own.owned || own.abandoned) return 0;
  if (own.handles == 0) make_deadline_handles(own);
  arm(own);
  return 0;
}

// ---- an owned loop ----

/// Ends the wait of uv_run, also if uv_run runs timers before the wait.
void on_end_of_wait(uv_timer_t* timer) {
  uv_stop(timer->loop);
}

/// Calls uv_loop_init where it can't end the process. libuv aborts if there is no pipe for its signals. The first loop
/// makes this pipe for the whole process. libuv 1.44 opens six descriptors and 1.52 opens eight. The others that are
/// tried are for later versions.
int init_loop(uv_loop_t* loop) {
  constexpr int kForProcessAndLoop = 2;
  constexpr int kForWakingAndRings = 5;
  if (const int error = try_descriptors(kForProcessAndLoop, kForWakingAndRings); error < 0) return error;
  const int error = uv_loop_init(loop);
  // If a later step fails, some versions leave the epoll set open, such as 1.44. The loop then still has its
  // descriptor. Other versions close the set, and the descriptor is then -1. Until libuv comes to its descriptors, both
  // fields are 0.
  const bool has_come_to_descriptors = loop->emfile_fd == -1;
  if (error < 0 && has_come_to_descriptors && uv_backend_fd(loop) >= 0) close(uv_backend_fd(loop));
  return error;
}

int make_loop(Attachment& own) {
  std::unique_ptr<uv_loop_t> made(new (std::nothrow) uv_loop_t{});
  if (!made) return -ENOMEM;
  if (const int error = init_loop(made.get()); error < 0) return error;
  int error = reserve(made.get(), made->async_io_watcher.fd);
  if (error == 0) error = reserve(made.get(), made->signal_io_watcher.fd);
  if (error < 0) {
    uv_loop_close(made.get());
    return error;
  }
  own.loop = made.release();
  own.owned = true;
  uv_timer_init(own.loop, &own.timer);
  return 0;
}

/// Frees a loop. No frame of the loop may be on the stack. In a forked child the loop first becomes the child's own. If
/// that fails, the loop is leaked.
void free_loop(Attachment& own) {
  if (own.abandoned && (own.leaked || uv_loop_fork(own.loop) < 0)) return;
  uv_close(handle(own.timer), nullptr);
  uv_run(own.loop, UV_RUN_NOWAIT);  // runs the close callbacks
  if (uv_loop_close(own.loop) < 0) return;
  delete own.loop;
  delete &own;
}

void iterate(Attachment& own, std::uint64_t end) {
  own.look_at_clock = own.deadline != ONLOOP_NO_DEADLINE;
  const std::uint64_t until = std::min(end, own.deadline);
  if (until == ONLOOP_NO_DEADLINE && own.keepalive && own.watches) {
    uv_timer_stop(&own.timer);  // a wait with an end costs the kernel a timer
  } else {
    uv_timer_start(&own.timer, on_end_of_wait, timeout_until(own.loop, until), 0);
  }
  uv_run(own.loop, end == 0 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
  if (own.look_at_clock) call_if_past_deadline(own);
}

int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  Attachment& own = self(loop);
  if (!own.owned) return -ENOTSUP;
  if (own.turning) return -EBUSY;
  const auto wait = static_cast<std::uint64_t>(max_wait_ns);
  const std::uint64_t end = max_wait_ns < 0 ? ONLOOP_NO_DEADLINE : max_wait_ns > 0 ? now_ns() + wait : 0;
  own.turning = true;
  own.called = false;
  do {
    iterate(own, end);  // may return early for libuv's own affairs, such as a handle that is closed
  } while (!own.called && end != 0 && now_ns() < end);
  own.turning = false;
  if (own.detached) free_loop(own);
  return 0;
}

// ---- the attachment ----

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  auto* made = new (std::nothrow) Attachment{.guest = copy_of(*guest)};
  if (!made) return -ENOMEM;
  made->loop = static_cast<uv_loop_t*>(foreign);
  if (const int error = foreign ? 0 : make_loop(*made); error < 0) {
    delete made;
    return error;
  }
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void closed(uv_handle_t* one) {
  auto* own = static_cast<Attachment*>(one->data);
  if (--own->handles == 0) delete own;
}

void detach(onloop_loop* loop) {
  Attachment& own = self(loop);
  own.detached = true;
  if (own.owned) {
    if (!own.turning) free_loop(own);
  } else if (own.handles == 0) {
    delete &own;
  } else {
    uv_close(handle(own.timer), closed);
    uv_close(handle(own.idle), closed);
  }
}

/// In a forked child, puts an empty epoll set in the place of the loop's set. The loop's set is shared with the parent,
/// and uv_close would silence the watch of the parent. With the empty set uv_close finds nothing to take out.
///
/// What libuv holds in memory is the child's own, and the child must close it. A handle that is merely forgotten does
/// harm if the loop continues after uv_loop_fork(). The loop aborts when the descriptor of the handle is closed. The
/// handle also prevents another watch of the same number.
class Decoy {
 public:
  explicit Decoy(const uv_loop_t* loop)
      : place_(uv_backend_fd(loop)), set_(fcntl(place_, F_DUPFD_CLOEXEC, 0)), empty_(epoll_create1(EPOLL_CLOEXEC)) {
    stands_ = set_ >= 0 && empty_ >= 0 && dup3(empty_, place_, O_CLOEXEC) >= 0;
  }
  Decoy(const Decoy&) = delete;
  Decoy& operator=(const Decoy&) = delete;
  ~Decoy() {
    if (stands_) dup3(set_, place_, O_CLOEXEC);
    if (set_ >= 0) close(set_);
    if (empty_ >= 0) close(empty_);
  }
  [[nodiscard]] bool stands() const { return stands_; }

 private:
  int place_;
  int set_;
  int empty_;
  bool stands_;
};

void abandon(onloop_loop* loop) {
  Attachment& own = self(loop);
  if (std::exchange(own.abandoned, true)) return;
  own.deadline = ONLOOP_NO_DEADLINE;
  if (own.handles) arm(own);
  const Decoy decoy(own.loop);
  while (Watch* watch = own.watches) {
    if (decoy.stands()) {
      close_watch(own, *watch);
    } else {
      forget(own, *watch);
      own.leaked = true;
    }
  }
}

}  // namespace

Loop libuv() noexcept {
  return Loop{onloop_shim_libuv}.aggregate();
}

Loop libuv(uv_loop_s* loop) {
  if (!loop) {
    throw std::system_error(EINVAL, std::generic_category(), "host on the application's libuv loop: it is null");
  }
  return Loop{onloop_shim_libuv, loop};
}

}  // namespace onloop

extern "C" const onloop_ops onloop_shim_libuv{.version = ONLOOP_OPS_VERSION,
                                              .struct_size = sizeof(onloop_ops),
                                              .name = "libuv",
                                              .attach = onloop::attach,
                                              .detach = onloop::detach,
                                              .watch_add = onloop::watch_add,
                                              .watch_set = onloop::watch_set,
                                              .watch_remove = onloop::watch_remove,
                                              .deadline_set = onloop::deadline_set,
                                              .priority_set = nullptr,
                                              .keepalive = onloop::keepalive,
                                              .run = nullptr,
                                              .stop = nullptr,
                                              .turn = onloop::turn,
                                              .abandon = onloop::abandon,
                                              // the backend descriptor of libuv knows nothing of watches that changed
                                              // since the last iteration
                                              .fd = nullptr};
