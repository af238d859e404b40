// The shim for libevent's event_base.
//
// Each watch is one `struct event`, which is persistent and level-triggered. Watch and event share one allocation. When
// an event is deleted, libevent takes it out of the current batch. libevent touches no event after its callback.
// Therefore a watch can be freed anywhere.
//
// - To change an event by event_del() and event_add() would cost two system calls and could lose the descriptor in
//   between. Therefore another event holds the descriptor meanwhile. libevent counts the events that want a direction,
//   and tells the kernel only the differences.
// - The default clock is CLOCK_MONOTONIC_COARSE, and it stands still in callbacks (event_base_update_cache_time()). A
//   timer may be early by a batch or by a tick. Therefore the shim compares each timer with the deadline, and sets it
//   again if it was early. EVENT_BASE_FLAG_PRECISE_TIMER costs a timerfd_settime() in each iteration. A base of the
//   shim's own does without this flag. It has a timerfd for the deadline, which the shim sets when the deadline
//   changes.
// - An iteration serves only the highest priority at which something is ready. A guest that is always ready would keep
//   lower priorities waiting. Therefore the guest rests after some milliseconds. Each event that is called then moves
//   to the lowest priority, which costs nothing in the event's own callback. It moves back when it is called at that
//   priority. If the application is always busy too, it moves back after a millisecond.
// - With a changelist, the kernel hears of a removal only in the next iteration. By then the descriptor may be closed
//   and its number may be that of another file. This does no harm to the one set of aggregate hosting, since it is
//   empty by then. Therefore the shim refuses only a second watch.
// - After a fork the epoll set is shared with the parent. Before the child removes anything, event_reinit() gives it a
//   set of its own.
// - libevent ends the process if it gets no descriptors for its signals. Therefore the shim first tries whether there
//   are descriptors.
// - The select back end is built with _FORTIFY_SOURCE and ends the process at descriptor 1024.
// - event_enable_debug_mode() makes event_assign() insist on O_NONBLOCK, which an epoll set does not have.

#include <event2/event.h>
#include <fcntl.h>
#include <sys/select.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <onloop/libevent.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "shims/clock.hpp"
#include "shims/fairness_budget.hpp"
#include "shims/guest.hpp"
#include "shims/libevent/base.hpp"
#include "shims/transient.hpp"

namespace onloop {
namespace {

using namespace libevent_base;

constexpr std::uint64_t kRest = 1'000'000;  // ns: how long a rest lasts if the application is busy

struct LibeventLoop;

/// A watch, or the deadline. Its event lies behind it in memory, since only libevent knows the size of an event.
struct Item {
  LibeventLoop* loop;
  void* context;
  std::uint32_t rests = 0;  // the index + 1 in LibeventLoop::at_rest, or 0 if the item does not rest
  std::uint8_t interest;
  bool blocking;  // the descriptor is in blocking mode
};

event* event_of(Item* item) {
  return reinterpret_cast<event*>(item + 1);
}

struct FreeItem {
  void operator()(Item* item) const {
    event_del(event_of(item));
    event_debug_unassign(event_of(item));
    operator delete(item);
  }
};
using OwnedItem = std::unique_ptr<Item, FreeItem>;

struct LibeventLoop {
  onloop_guest guest;
  Owned<event_base> own;  // null if the base is the application's
  event_base* base;
  int timerfd = -1;          // for the deadline, on a base of the shim's own
  OwnedItem timer = {};      // the event of the timerfd, or a timer event
  Owned<event> holder = {};  // holds a descriptor while its event changes
  Owned<event> waking = {};  // a timer that ends the rest
  bool changelist = false;
  int most_descriptors = INT_MAX;
  int priority = 0;
  int lowest = 0;
  std::size_t watches = 0;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  std::uint64_t turn_end = ONLOOP_NO_DEADLINE;
  int frames = 0;  // frames on the stack; the outermost frees the loop if detach was called meanwhile
  bool turning = false;
  bool fresh = false;  // a turn has made no up-call yet
  bool detached = false;
  bool forgotten = false;   // abandoned, and libevent still has our events
  Item* current = nullptr;  // the watch whose callback is running; null after its removal
  FairnessBudget fairness = {};
  bool resting = false;
  std::uint64_t rest_ends = 0;
  std::vector<Item*> at_rest = {};

  LibeventLoop(const onloop_guest& up, Owned<event_base> made, event_base* foreign)
      : guest(up), own(std::move(made)), base(own ? own.get() : foreign) {}
  LibeventLoop(const LibeventLoop&) = delete;
  LibeventLoop& operator=(const LibeventLoop&) = delete;
  ~LibeventLoop() {
    timer.reset();
    if (timerfd >= 0) close(timerfd);
  }
};

LibeventLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<LibeventLoop*>(loop);
}
Item& self(onloop_watch* watch) {
  return *reinterpret_cast<Item*>(watch);
}

void leave(LibeventLoop& loop) {
  if (--loop.frames == 0 && loop.detached) delete &loop;
}

// ---- events ----

void on_io(evutil_socket_t, short events, void* watch);
void on_timer(evutil_socket_t, short, void* timer);

OwnedItem make_item(LibeventLoop& loop, void* context, bool blocking) {
  void* memory = operator new(sizeof(Item) + event_get_struct_event_size(), std::nothrow);
  if (!memory) return nullptr;
  auto* made = new (memory) Item{.loop = &loop, .context = context, .interest = ONLOOP_NONE, .blocking = blocking};
  event_assign(event_of(made), loop.base, -1, 0, on_io, made);
  return OwnedItem(made);
}

void assign(const Item& watch, event* to, int fd, std::uint32_t interest) {
  const int flags = watch.blocking ? fcntl(fd, F_GETFL) : 0;
  if (watch.blocking) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  const auto events = static_cast<short>(EV_PERSIST | events_of(interest));
  event_assign(to, watch.loop->base, fd, events, on_io, const_cast<Item*>(&watch));
  if (watch.blocking) fcntl(fd, F_SETFL, flags);
  event_priority_set(to, watch.loop->priority);
}

/// Deletes the event of a watch and adds it again, at the priority of the loop. This costs a system call for each
/// direction that is added or dropped.
int add_again(Item& watch, std::uint32_t interest) {
  event* changed = event_of(&watch);
  event* holder = watch.loop->holder.get();
  const int fd = event_get_fd(changed);
  assign(watch, holder, fd, interest);
  errno = 0;
  if (event_add(holder, nullptr) < 0) return failure();
  event_del(changed);
  assign(watch, changed, fd, interest);
  event_add(changed, nullptr);  // this can't fail, since it makes no system call
  event_del(holder);
  return 0;
}

// ---- the deadline ----

int arm(LibeventLoop& loop) {
  const std::uint64_t at = std::min(loop.deadline, loop.turn_end);
  if (loop.timerfd >= 0) {
    itimerspec when{};
    if (at != ONLOOP_NO_DEADLINE) {
      const std::uint64_t armed = std::max<std::uint64_t>(at, 1);  // zero would disarm the timerfd
      when.it_value.tv_sec = static_cast<time_t>(armed / 1'000'000'000u);
      when.it_value.tv_nsec = static_cast<long>(armed % 1'000'000'000u);
    }
    return timerfd_settime(loop.timerfd, TFD_TIMER_ABSTIME, &when, nullptr) < 0 ? -errno : 0;
  }
  if (at == ONLOOP_NO_DEADLINE) {
    event_del(event_of(loop.timer.get()));
    return 0;
  }
  const timeval wait = time_until(at);
  return event_add(event_of(loop.timer.get()), &wait) < 0 ? -ENOMEM : 0;
}

bool due(const LibeventLoop& loop) {
  return loop.deadline != ONLOOP_NO_DEADLINE && now_ns() >= loop.deadline;
}

void call_on_deadline(LibeventLoop& loop) {
  loop.deadline = ONLOOP_NO_DEADLINE;
  if (loop.timerfd >= 0) arm(loop);
  loop.guest.on_deadline(loop.guest.context);
}

// ---- resting ----

void forget_rest(LibeventLoop& loop, Item& item) {
  if (item.rests == 0) return;
  loop.at_rest[item.rests - 1] = loop.at_rest.back();
  loop.at_rest[item.rests - 1]->rests = item.rests;
  loop.at_rest.pop_back();
  item.rests = 0;
}

/// Moves an item back to the priority of the loop although libevent has already queued its event in this iteration.
void requeue(LibeventLoop& loop, Item& item) {
  if (&item != loop.timer.get()) {
    add_again(item, item.interest);
    return;
  }
  event_del(event_of(&item));
  event_priority_set(event_of(&item), loop.priority);
  if (loop.timerfd >= 0) event_add(event_of(&item), nullptr);
  arm(loop);
}

void end_rest(LibeventLoop& loop, bool queued_too) {
  loop.resting = false;
  for (std::size_t i = loop.at_rest.size(); i > 0; --i) {
    Item& item = *loop.at_rest[i - 1];
    if (event_priority_set(event_of(&item), loop.priority) < 0) {
      if (!queued_too) continue;
      requeue(loop, item);
    }
    forget_rest(loop, item);
  }
  if (loop.at_rest.empty()) event_del(loop.waking.get());
}

void begin_rest(LibeventLoop& loop) {
  loop.rest_ends = now_ns() + kRest;
  const timeval moment{.tv_sec = 0, .tv_usec = kRest / 1000};
  loop.resting = event_add(loop.waking.get(), &moment) == 0;
}

/// @return True if the item that is called must rest instead of being served.
bool rests(LibeventLoop& loop, Item& item) try {
  if (item.rests > 0) {  // everything else had a turn
    forget_rest(loop, item);
    event_priority_set(event_of(&item), loop.priority);
    end_rest(loop, false);
    return false;
  }
  if (!loop.resting && loop.fairness.rest(loop.watches + 1)) begin_rest(loop);
  if (!loop.resting) return false;
  loop.at_rest.push_back(&item);
  item.rests = static_cast<std::uint32_t>(loop.at_rest.size());
  event_priority_set(event_of(&item), loop.lowest);
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

void on_rested(evutil_socket_t, short, void* context) {
  auto& loop = *static_cast<LibeventLoop*>(context);
  if (loop.forgotten) return;
  if (const std::uint64_t now = now_ns(); now < loop.rest_ends) {  // early, since the clock of the base stood still
    const timeval left{.tv_sec = 0, .tv_usec = static_cast<suseconds_t>((loop.rest_ends - now) / 1000)};
    if (event_add(loop.waking.get(), &left) == 0) return;
  }
  end_rest(loop, true);
}

// ---- callbacks of libevent's ----

void on_io(evutil_socket_t, short events, void* context) {
  Item& watch = *static_cast<Item*>(context);
  LibeventLoop& loop = *watch.loop;
  if (loop.forgotten) {
    FreeItem{}(&watch);
    return;
  }
  const bool others_wait = loop.priority < loop.lowest;
  if (others_wait && rests(loop, watch)) return;
  ++loop.frames;
  loop.current = &watch;
  if (loop.fresh) {
    loop.fresh = false;
    if (due(loop)) call_on_deadline(loop);
  }
  if (loop.current) {
    const std::uint32_t wanted = readiness_of(events) & watch.interest;
    if (wanted) loop.guest.on_ready(watch.context, wanted);
  }
  loop.current = nullptr;
  if (others_wait) loop.fairness.end();
  leave(loop);
}

void on_timer(evutil_socket_t, short, void* context) {
  Item& timer = *static_cast<Item*>(context);
  LibeventLoop& loop = *timer.loop;
  if (loop.forgotten) return;  // the timer is one-shot, and nobody adds it again
  const bool others_wait = loop.priority < loop.lowest;
  if (!due(loop) || (others_wait && rests(loop, timer))) {
    arm(loop);
    return;
  }
  ++loop.frames;
  loop.fresh = false;
  call_on_deadline(loop);
  if (others_wait) loop.fairness.end();
  leave(loop);
}

// ---- attach and detach ----

int make_deadline(LibeventLoop& loop) {
  loop.timer = make_item(loop, nullptr, false);
  if (!loop.timer) return -ENOMEM;
  event* timer = event_of(loop.timer.get());
  if (!loop.own) return evtimer_assign(timer, loop.base, on_timer, loop.timer.get());
  loop.timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (loop.timerfd < 0) return -errno;
  event_assign(timer, loop.base, loop.timerfd, EV_READ | EV_PERSIST, on_timer, loop.timer.get());
  errno = 0;
  return event_add(timer, nullptr) < 0 ? failure() : 0;
}

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  Owned<event_base> own;
  if (!foreign) {
    if (const int error = new_base(own); error < 0) return error;
  }
  std::unique_ptr<LibeventLoop> made(
      new (std::nothrow) LibeventLoop(copy_of(*guest), std::move(own), static_cast<event_base*>(foreign)));
  if (!made) return -ENOMEM;
  const std::string_view method = event_base_get_method(made->base);
  made->changelist = method == "epoll (with changelist)";
  if (method == "select") made->most_descriptors = FD_SETSIZE;
  made->lowest = event_base_get_npriorities(made->base) - 1;
  made->holder.reset(event_new(made->base, -1, 0, on_io, nullptr));
  made->waking.reset(evtimer_new(made->base, on_rested, made.get()));
  if (!made->holder || !made->waking) return -ENOMEM;
  made->priority = event_get_priority(made->waking.get());
  if (const int error = make_deadline(*made); error < 0) return error;
  *loop = reinterpret_cast<onloop_loop*>(made.release());
  return 0;
}

void detach(onloop_loop* loop) {
  LibeventLoop& own = self(loop);
  if (own.forgotten) return;
  own.detached = true;
  own.timer.reset();
  own.waking.reset();
  if (own.turning) event_base_loopbreak(own.base);
  if (own.frames == 0) delete &own;
}

/// A child can't use a base before event_reinit(). A base may go through event_reinit() more than once. If
/// event_reinit() would end the process for lack of descriptors, the shim leaves everything as it is. Each event that
/// is called then removes itself.
void abandon(onloop_loop* loop) {
  constexpr int kForSignals = 1;
  constexpr int kForThreads = 1;
  LibeventLoop& own = self(loop);
  own.forgotten = try_descriptors(kForSignals, kForThreads) < 0;
  if (!own.forgotten) event_reinit(own.base);
}

// ---- watches ----

/// libevent 2.1 has no event for POLLPRI.
bool knows(std::uint32_t interest) {
  return (interest & ~(ONLOOP_READ | ONLOOP_WRITE)) == 0;
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) {
  LibeventLoop& own = self(loop);
  if (own.changelist && own.watches > 0) return -ENOTSUP;
  if (!knows(interest)) return -EINVAL;
  if (fd >= own.most_descriptors) return -EMFILE;
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  OwnedItem made = make_item(own, watch_context, (flags & O_NONBLOCK) == 0);
  if (!made) return -ENOMEM;
  assign(*made, event_of(made.get()), fd, interest);
  made->interest = static_cast<std::uint8_t>(interest);
  errno = 0;
  if (interest && event_add(event_of(made.get()), nullptr) < 0) return failure();
  ++own.watches;
  *watch = reinterpret_cast<onloop_watch*>(made.release());
  return 0;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  Item& own = self(watch);
  event* changed = event_of(&own);
  if (interest == own.interest) return 0;
  if (!knows(interest)) return -EINVAL;
  if (interest == ONLOOP_NONE) {
    event_del(changed);
  } else if (own.interest != ONLOOP_NONE) {
    if (const int error = add_again(own, interest); error < 0) return error;
  } else {
    assign(own, changed, event_get_fd(changed), interest);
    errno = 0;
    if (event_add(changed, nullptr) < 0) return failure();
  }
  forget_rest(self(loop), own);
  own.interest = static_cast<std::uint8_t>(interest);
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  LibeventLoop& own = self(loop);
  Item& gone = self(watch);
  if (own.forgotten) return;
  if (own.current == &gone) own.current = nullptr;
  forget_rest(own, gone);
  FreeItem{}(&gone);
  --own.watches;
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) {
  LibeventLoop& own = self(loop);
  const std::uint64_t former = own.deadline;
  own.deadline = at_ns;
  const int error = arm(own);
  if (error < 0) own.deadline = former;
  return error;
}

/// A callback for event_base_foreach_event. It sets the priority of the watches of the loop. libevent refuses this for
/// a watch whose event is queued. The callback then stores this watch in `search` and stops.
int set_priority_of(const event_base*, const event* each, void* search) {
  auto& [loop, queued] = *static_cast<std::pair<LibeventLoop*, Item*>*>(search);
  if (event_get_callback(each) != on_io) return 0;
  auto* watch = static_cast<Item*>(event_get_callback_arg(each));
  if (watch->loop != loop || event_get_priority(each) == loop->priority) return 0;
  if (event_priority_set(event_of(watch), loop->priority) == 0) return 0;
  queued = watch;
  return 1;
}

int priority_set(onloop_loop* loop, int priority) {
  LibeventLoop& own = self(loop);
  if (priority < 0 || priority > own.lowest) return -EINVAL;
  end_rest(own, true);
  own.priority = priority;
  std::pair<LibeventLoop*, Item*> search{&own, nullptr};
  while (event_base_foreach_event(own.base, set_priority_of, &search) != 0) {
    add_again(*search.second, search.second->interest);
  }
  event_priority_set(own.waking.get(), priority);
  if (event_priority_set(event_of(own.timer.get()), priority) < 0) requeue(own, *own.timer);
  return 0;
}

// ---- an owned loop ----

int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  LibeventLoop& own = self(loop);
  if (own.turning) return -EBUSY;
  if (max_wait_ns > 0) {
    own.turn_end = now_ns() + static_cast<std::uint64_t>(max_wait_ns);
    arm(own);
  }
  ++own.frames;
  own.turning = own.fresh = true;
  errno = 0;
  const int wait = max_wait_ns == 0 ? EVLOOP_NONBLOCK : 0;
  const int error = event_base_loop(own.base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | wait) < 0 ? failure() : 0;
  own.turning = own.fresh = false;
  const bool transient = error < 0 && is_transient(-error);
  if (transient) rest_a_moment(max_wait_ns);
  if (max_wait_ns > 0 && !own.detached) {
    own.turn_end = ONLOOP_NO_DEADLINE;
    arm(own);
  }
  leave(own);
  return transient ? 0 : error;
}

}  // namespace

Loop libevent() noexcept {
  return Loop{onloop_shim_libevent}.aggregate();
}

Loop libevent(event_base* base) {
  if (!base) {
    throw std::system_error(EINVAL, std::generic_category(),
                            "onloop::libevent(): the event_base is null; did event_base_new() fail?");
  }
  return Loop{onloop_shim_libevent, base};
}

}  // namespace onloop

const onloop_ops onloop_shim_libevent = {.version = ONLOOP_OPS_VERSION,
                                         .struct_size = sizeof(onloop_ops),
                                         .name = "libevent",
                                         .attach = onloop::attach,
                                         .detach = onloop::detach,
                                         .watch_add = onloop::watch_add,
                                         .watch_set = onloop::watch_set,
                                         .watch_remove = onloop::watch_remove,
                                         .deadline_set = onloop::deadline_set,
                                         .priority_set = onloop::priority_set,
                                         .keepalive = nullptr,
                                         .run = nullptr,
                                         .stop = nullptr,
                                         .turn = onloop::turn,
                                         .abandon = onloop::abandon,
                                         .fd = nullptr};
