// sd-event, the loop of libsystemd: epoll with priorities. Each watch is an I/O source of its own, the deadline a time
// source.
//
// Traps that shape it. An iteration dispatches one source: the pending one of the highest priority, among equals the
// one that has been pending longest. So equals share, but a source that is always ready keeps all of lower priority
// waiting for ever; see "Resting" below. And the kernel walks all that is ready in each iteration, so that many sources
// that become ready at once cost their number squared; see "Going on" below. Epoll reports HUP and ERR whether asked or
// not, so a watch without interest is switched off. A loop can't be iterated from its own handlers (EBUSY); the
// handlers may remove any source, their own included, and drop the loop. A loop that has exited takes no more changes
// (ESTALE), but lets sources go. After fork every call but the last unref is refused (ECHILD), and that one leaves the
// kernel's set alone. A handler that returns a negative number is switched off, and one that is null ends the loop:
// both never happen here.
//
// Time. sd-event counts microseconds: the deadline is rounded up, and the loop's own time is rounded down, so that it
// is never early. An accuracy of 0 would mean 250 ms. The time source is made with the first deadline, since with it
// the loop opens a timerfd, which it keeps; a guest under aggregate hosting needs none.
//
// Turns of an owned loop. The deadline, if it is due, and then one iteration: sd-event asks the kernel again before
// each, and would announce what the guest has only noted so far once more. An interrupted wait looks like a source that
// was dispatched, so a turn counts its up-calls.
#include <onloop/sdevent.hpp>

#include <fcntl.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <new>
#include <system_error>
#include <utility>
#include <vector>

#include "shims/clock.hpp"
#include "shims/fairness_budget.hpp"
#include "shims/guest.hpp"
#include "shims/transient.hpp"

namespace onloop {
namespace {

constexpr std::int64_t kLowest = INT64_MAX;  // the priority of a source that rests
constexpr std::uint64_t kRest = 1'000'000;   // how long, in nanoseconds, if the host has always something better to do
constexpr std::uint64_t kAccuracy = 1;       // the finest, in microseconds

constexpr std::size_t kFew = 32;            // watches: among so few nothing is gained by a search for others
constexpr unsigned kSeldom = 16;            // of so many up-calls one looks whether another watch is pending, too
constexpr std::size_t kMore = 64;           // at so many further ones for each that is
constexpr std::uint64_t kGoOn = 4'000'000;  // how long, in nanoseconds, on the application's loop: half of a turn
constexpr std::size_t kBatch = 256;         // how many on an owned one

struct SdLoop;

/// A source of the guest's in the host.
struct Member {
  SdLoop* loop;
  sd_event_source* source;
  std::size_t index;  // in SdLoop::members
};

struct SdWatch : Member {
  std::uint32_t interest;
  void* context;
};

struct Unref {
  void operator()(sd_event* event) const { sd_event_unref(event); }
};

struct SdLoop {
  onloop_guest guest;
  std::unique_ptr<sd_event, Unref> event;
  bool owned;
  bool abandoned = false;
  bool detached = false;
  bool called = false;  // an up-call was made
  int frames = 0;       // on the stack; the outermost frees the loop if detach came meanwhile
  int priority = SD_EVENT_PRIORITY_NORMAL;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  Member timer{this, nullptr, 0};  // the deadline's; its source is made when it is first needed

  std::vector<Member*> members;  // those that rest first
  std::size_t resting = 0;
  std::uint64_t ended = 0;       // when the last up-call did
  Member* timekeeper = nullptr;  // of those that rest
  FairnessBudget fairness;

  unsigned until_look = kSeldom;  // the last of so many up-calls looks for others that are pending
  bool found = false;             // the last one that looked has found some
  std::size_t below = 0;          // where its search ended
  std::uint32_t anywhere = 0;     // where the next one may begin
  const Member* early = nullptr;  // is called although it is still pending; null once it was removed
};

SdLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<SdLoop*>(loop);
}
SdWatch& self(onloop_watch* watch) {
  return *reinterpret_cast<SdWatch*>(watch);
}

std::uint64_t microseconds(std::uint64_t ns) {
  return ns / 1000 + (ns % 1000 != 0);
}

std::uint32_t events_of(std::uint32_t interest) {
  return ((interest & ONLOOP_READ) ? EPOLLIN : 0u) | ((interest & ONLOOP_WRITE) ? EPOLLOUT : 0u) |
         ((interest & ONLOOP_PRIORITY) ? EPOLLPRI : 0u);
}

std::uint32_t readiness_of(std::uint32_t events, std::uint32_t interest) {
  if (events & (EPOLLERR | EPOLLHUP)) return interest;
  return interest & (((events & EPOLLIN) ? ONLOOP_READ : 0u) | ((events & EPOLLOUT) ? ONLOOP_WRITE : 0u) |
                     ((events & EPOLLPRI) ? ONLOOP_PRIORITY : 0u));
}

// ---- sources ----

/// Final, also for the source whose handler is on the stack.
void drop(const SdLoop& own, sd_event_source* source) {
  if (own.abandoned) {
    sd_event_source_unref(source);  // the loop is another process's, and would complain of anything else
  } else {
    sd_event_source_disable_unref(source);
  }
}

void enlist(SdLoop& own, Member& member) {
  own.members.push_back(&member);
  member.index = own.members.size() - 1;
}

void exchange(SdLoop& own, std::size_t one, std::size_t other) {
  std::swap(own.members[one], own.members[other]);
  own.members[one]->index = one;
  own.members[other]->index = other;
}

void strike(SdLoop& own, const Member& member) {
  if (member.index < own.resting) exchange(own, member.index, --own.resting);
  exchange(own, member.index, own.members.size() - 1);
  own.members.pop_back();
}

// ---- Resting ----
//
// When the guest has been ready for a while on end (FairnessBudget), each of its sources is called once more and takes
// the lowest priority, so that everything else that the host has pending goes first. The first of them that is called
// there shows that nothing was left, and all are as before. If the host has always something to do, be it idle work or
// the application's at the guest's own priority, they are as before 1 ms after the last call. The prepare callback of
// one of them, which the host makes at the beginning of an iteration, sees to that: a timer would cost two system calls
// a rest. A source that is switched off has no such callback, and needs none.

int on_prepare(sd_event_source*, void* userdata);

void release_timekeeper(SdLoop& own) {
  if (const Member* member = std::exchange(own.timekeeper, nullptr)) {
    sd_event_source_set_prepare(member->source, nullptr);
  }
}

void end_rest(SdLoop& own) {
  release_timekeeper(own);
  for (std::size_t i = 0; i < own.resting; ++i) sd_event_source_set_priority(own.members[i]->source, own.priority);
  own.resting = 0;
}

/// While sources rest, one that is on keeps the time.
void keep_time(SdLoop& own) {
  for (std::size_t i = 0; i < own.resting && !own.timekeeper; ++i) {
    int enabled = SD_EVENT_OFF;
    sd_event_source_get_enabled(own.members[i]->source, &enabled);
    if (enabled == SD_EVENT_OFF) continue;
    own.timekeeper = own.members[i];
    if (sd_event_source_set_prepare(own.timekeeper->source, on_prepare) < 0) end_rest(own);
  }
}

/// The member's source was switched on or off.
void switched(SdLoop& own, const Member& member) {
  if (own.timekeeper == &member) release_timekeeper(own);
  keep_time(own);
}

void rest(SdLoop& own, Member& member) {
  sd_event_source_set_priority(member.source, kLowest);
  exchange(own, member.index, own.resting++);
}

// ---- up-calls ----

/// The loop is there until its end, whatever is called.
class Frame {
 public:
  explicit Frame(SdLoop& own) : own_(own) { ++own_.frames; }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  [[gnu::always_inline]] ~Frame() {
    if (--own_.frames == 0 && own_.detached) delete &own_;
  }

 protected:
  SdLoop& own_;
};

/// One up-call of a member's.
class UpCall : Frame {
 public:
  [[gnu::always_inline]] explicit UpCall(Member& member) : Frame(*member.loop) {
    own_.called = true;
    if (own_.owned) return;  // there is nobody to let go first
    if (member.index < own_.resting) end_rest(own_);
    if (own_.fairness.rest(own_.members.size()) || own_.resting > 0) rest(own_, member);
  }
  UpCall(const UpCall&) = delete;
  UpCall& operator=(const UpCall&) = delete;
  [[gnu::always_inline]] ~UpCall() {
    if (own_.detached || own_.owned) return;
    own_.ended = own_.fairness.end();
    keep_time(own_);
  }
};

[[gnu::always_inline]] inline void report(SdWatch& watch, std::uint32_t events) {
  const std::uint32_t readiness = readiness_of(events, watch.interest);
  if (readiness == 0) return;
  const onloop_guest& guest = watch.loop->guest;
  const UpCall call(watch);
  guest.on_ready(watch.context, readiness);
}

// ---- Going on ----
//
// Whoever is called goes on to others of the guest's that are pending, too, so that the kernel walks what is ready once
// for all of them. sd-event says of a given source whether it is pending, but not which ones are. An owned loop tells
// when any is: it need not wait. On the application's loop one up-call in kSeldom looks. It looks at one watch, and for
// each that is pending at kMore further ones; then the next up-call looks likewise. Where one watch in kMore is pending
// or more, all are found. Where hardly any is, hardly any is looked at. The search begins beside the watch that was
// called, since those that were added together often become ready together; or anywhere, since the host may call those
// last that are side by side. From then on it goes round, so that all have their turn where one call can't come to all.
//
// A watch that was called early is pending no more: its own call would cost another question to the kernel. A change of
// the events that its source waits for does that. The kernel reports EPOLLERR whether it is among them or not, so that
// is what changes.
//
// On the application's loop this ends after kGoOn, and when the application has asked its loop to exit. Those that rest
// are left out, since everything else goes first.

bool is_pending(const SdLoop& own, const Member& member) {
  return &member != &own.timer && sd_event_source_get_pending(member.source) > 0;
}

void take_back(const SdWatch& watch) {
  if (sd_event_source_get_pending(watch.source) <= 0) return;  // a change of its interest has done it
  std::uint32_t events = 0;
  sd_event_source_get_io_events(watch.source, &events);
  sd_event_source_set_io_events(watch.source, events ^ EPOLLERR);
}

void call_early(SdLoop& own, SdWatch& watch) {
  std::uint32_t events = 0;
  sd_event_source_get_io_revents(watch.source, &events);
  own.early = &watch;
  report(watch, events);
  if (std::exchange(own.early, nullptr) && !own.abandoned) take_back(watch);
}

/// `began`: when the first of them was called.
bool may_go_on(const SdLoop& own, std::uint64_t began, std::size_t called) {
  if (own.detached || own.abandoned) return false;
  if (own.owned) return called < kBatch;
  int code = 0;
  return own.ended - began < kGoOn && sd_event_get_exit_code(own.event.get(), &code) < 0;
}

/// Below which place to look. `place`: of the watch that the host has called.
std::size_t first_look(SdLoop& own, std::size_t place) {
  own.anywhere = own.anywhere * 1'664'525u + 1'013'904'223u;  // a sequence without a pattern
  if (own.found) return own.below;
  if ((own.anywhere >> 31) != 0) return place;
  return own.resting + (own.anywhere >> 8) % (own.members.size() - own.resting) + 1;
}

/// How many were called. The search goes downwards, so that a removal skips none.
std::size_t call_others(SdLoop& own, std::size_t place) {
  if (own.members.size() <= own.resting || (!own.owned && own.members.size() < kFew)) return 0;
  const std::uint64_t began = own.fairness.started();
  std::size_t called = 0;
  std::size_t looks = own.found ? kMore : 1;
  std::size_t below = first_look(own, place);
  bool more = may_go_on(own, began, called);
  for (std::size_t left = own.members.size(); more && looks > 0 && left > 0; --left, --looks) {
    if (below <= own.resting || below > own.members.size()) below = own.members.size();
    if (below <= own.resting) break;  // no other is there
    Member& member = *own.members[--below];
    if (!is_pending(own, member)) continue;
    call_early(own, static_cast<SdWatch&>(member));
    more = may_go_on(own, began, ++called);
    looks += kMore;
  }
  own.below = below;
  return called;
}

[[gnu::noinline]] void report_and_go_on(SdWatch& watch, std::uint32_t events) {
  SdLoop& own = *watch.loop;
  const Frame frame(own);
  const std::size_t place = watch.index;
  report(watch, events);
  own.found = call_others(own, place) > 0;
  own.until_look = own.found ? 1 : own.owned ? UINT_MAX : kSeldom;
}

int on_io(sd_event_source*, int, std::uint32_t events, void* userdata) {
  auto& watch = *static_cast<SdWatch*>(static_cast<Member*>(userdata));
  if (--watch.loop->until_look == 0) {
    report_and_go_on(watch, events);
  } else {
    report(watch, events);
  }
  return 0;
}

int on_time(sd_event_source*, std::uint64_t, void* userdata) {
  SdLoop& own = *static_cast<Member*>(userdata)->loop;
  const UpCall call(own.timer);
  own.deadline = ONLOOP_NO_DEADLINE;
  own.guest.on_deadline(own.guest.context);
  return 0;
}

int on_prepare(sd_event_source*, void* userdata) {
  SdLoop& own = *static_cast<Member*>(userdata)->loop;
  if (now_ns() >= own.ended + kRest) end_rest(own);
  return 0;
}

// ---- slots ----

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  sd_event* event = static_cast<sd_event*>(foreign);
  int result = 0;
  if (!event) {
    result = sd_event_new(&event);
  } else if (event == SD_EVENT_DEFAULT) {  // a name for it, not a pointer
    result = sd_event_default(&event);
  } else {
    sd_event_ref(event);
  }
  if (result < 0) return result;
  std::unique_ptr<sd_event, Unref> held(event);
  const int state = sd_event_get_state(event);
  if (state < 0) return state;
  if (state == SD_EVENT_FINISHED) return -ESTALE;
  auto* made = new (std::nothrow)
      SdLoop{.guest = copy_of(*guest), .event = std::move(held), .owned = !foreign, .members = {}, .fairness = {}};
  if (!made) return -ENOMEM;
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  SdLoop& own = self(loop);
  drop(own, own.timer.source);
  own.detached = true;
  if (own.frames == 0) delete &own;
}

/// A child with the pid of its parent, in a PID namespace of its own, is none for sd-event, which compares pids: it
/// would take the sources out of the set that is the parent's, too. An empty set takes the place of that one. In any
/// other child sd-event refuses to say where it is.
void hide_set(sd_event* event) {
  const int place = sd_event_get_fd(event);
  if (place < 0) return;
  const int empty = epoll_create1(EPOLL_CLOEXEC);
  if (empty < 0) {
    dup3(STDERR_FILENO, place, O_CLOEXEC);  // no set at all
    return;
  }
  dup3(empty, place, O_CLOEXEC);
  close(empty);
}

void abandon(onloop_loop* loop) {
  SdLoop& own = self(loop);
  if (std::exchange(own.abandoned, true)) return;
  hide_set(own.event.get());
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) try {
  SdLoop& own = self(loop);
  auto made = std::make_unique<SdWatch>(SdWatch{{&own, nullptr, 0}, interest, watch_context});
  enlist(own, *made);
  const int result =
      sd_event_add_io(own.event.get(), &made->source, fd, events_of(interest), on_io, static_cast<Member*>(made.get()));
  if (result < 0) {
    strike(own, *made);
    return result;
  }
  sd_event_source_set_priority(made->source, own.priority);
  if (!interest) sd_event_source_set_enabled(made->source, SD_EVENT_OFF);
  *watch = reinterpret_cast<onloop_watch*>(made.release());
  return 0;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int watch_set(onloop_loop*, onloop_watch* watch, std::uint32_t interest) {
  SdWatch& own = self(watch);
  int result = 0;
  if (!interest) {
    result = sd_event_source_set_enabled(own.source, SD_EVENT_OFF);
  } else {
    result = sd_event_source_set_io_events(own.source, events_of(interest));
    if (result == -ENOENT) {  // its number is another file's now: sd-event has to add it anew
      sd_event_source_set_enabled(own.source, SD_EVENT_OFF);
      result = sd_event_source_set_io_events(own.source, events_of(interest));
      if (result >= 0) result = sd_event_source_set_enabled(own.source, SD_EVENT_ON);
    }
    if (result >= 0 && !own.interest) result = sd_event_source_set_enabled(own.source, SD_EVENT_ON);
  }
  const bool lowers = (interest & ~own.interest) == 0;
  if (result < 0 && !lowers) return result;  // a loop that has exited refuses to lower, and calls nobody anyway
  own.interest = interest;
  switched(*own.loop, own);
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  SdLoop& own = self(loop);
  const std::unique_ptr<SdWatch> gone(&self(watch));
  if (own.timekeeper == gone.get()) own.timekeeper = nullptr;
  if (own.early == gone.get()) own.early = nullptr;
  drop(own, gone->source);
  strike(own, *gone);
  keep_time(own);
}

int add_timer(SdLoop& own, std::uint64_t at) {
  enlist(own, own.timer);
  const int result =
      sd_event_add_time(own.event.get(), &own.timer.source, CLOCK_MONOTONIC, at, kAccuracy, on_time, &own.timer);
  if (result < 0) {
    strike(own, own.timer);
    return result;
  }
  return sd_event_source_set_priority(own.timer.source, own.priority);
}

int set_timer(SdLoop& own, std::uint64_t at) {
  if (!own.timer.source) return add_timer(own, at);
  const int result = sd_event_source_set_time(own.timer.source, at);
  return result < 0 ? result : sd_event_source_set_enabled(own.timer.source, SD_EVENT_ONESHOT);
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) try {
  SdLoop& own = self(loop);
  if (at_ns == own.deadline) return 0;
  if (at_ns == ONLOOP_NO_DEADLINE) {
    sd_event_source_set_enabled(own.timer.source, SD_EVENT_OFF);
  } else if (const int result = set_timer(own, microseconds(at_ns)); result < 0) {
    return result;
  }
  own.deadline = at_ns;
  switched(own, own.timer);
  return 0;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

/// sd-event's priorities are 64 bits wide: every int is one. They can be set or, after the loop has exited, all can't.
int priority_set(onloop_loop* loop, int priority) {
  SdLoop& own = self(loop);
  for (std::size_t i = own.resting; i < own.members.size(); ++i) {
    const int result = sd_event_source_set_priority(own.members[i]->source, priority);
    if (result < 0) return result;
  }
  own.priority = priority;
  return 0;
}

/// What sd_event_run does, but for the deadline, which comes first.
int iterate(SdLoop& own, std::uint64_t limit) {
  int result = sd_event_prepare(own.event.get());
  if (result == 0) {
    result = sd_event_wait(own.event.get(), limit);
  } else if (result > 0) {
    own.until_look = 1;  // there are others
  }
  if (result < 0 && is_transient(-result)) {
    rest_a_moment(limit == 0 ? 0 : -1);
    result = 0;
  }
  if (result < 0) return result;
  if (own.deadline != ONLOOP_NO_DEADLINE && now_ns() >= own.deadline) {
    sd_event_source_set_enabled(own.timer.source, SD_EVENT_OFF);
    on_time(own.timer.source, 0, &own.timer);
    if (own.detached) return 0;
  }
  return result == 0 ? 0 : sd_event_dispatch(own.event.get());
}

int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  SdLoop& own = self(loop);
  if (own.frames > 0) return -EBUSY;
  const std::uint64_t end = max_wait_ns > 0 ? now_ns() + static_cast<std::uint64_t>(max_wait_ns) : 0;
  std::uint64_t limit = max_wait_ns < 0 ? UINT64_MAX : microseconds(static_cast<std::uint64_t>(max_wait_ns));
  int result = 0;
  own.called = false;
  ++own.frames;
  while ((result = iterate(own, limit)) > 0 && !own.called) {  // interrupted
    if (max_wait_ns < 0) continue;
    const std::uint64_t now = now_ns();
    limit = microseconds(end > now ? end - now : 0);
  }
  --own.frames;
  if (own.detached) delete &own;
  return std::min(result, 0);
}

int descriptor(onloop_loop* loop) {
  return sd_event_get_fd(self(loop).event.get());
}

}  // namespace

Loop sdevent() noexcept {
  return Loop{onloop_shim_sdevent}.aggregate();
}

Loop sdevent(sd_event* loop) {
  if (!loop) {
    throw std::system_error(EINVAL, std::generic_category(),
                            "host a context on an sd-event loop that is null; onloop::sdevent() makes one");
  }
  return Loop{onloop_shim_sdevent, loop};
}

}  // namespace onloop

extern "C" const onloop_ops onloop_shim_sdevent{.version = ONLOOP_OPS_VERSION,
                                                .struct_size = sizeof(onloop_ops),
                                                .name = "sdevent",
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
                                                .fd = onloop::descriptor};
