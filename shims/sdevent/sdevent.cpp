// The shim for sd-event, the loop of libsystemd: epoll with priorities. Each watch is an I/O source of its own. The
// deadline is a time source.
//
// Traps of sd-event that shape it:
// - An iteration dispatches one source: the pending source of the highest priority. Among sources of equal priority it
//   is the source that has been pending longest. So sources of equal priority share, but a source that is always ready
//   keeps the sources of lower priority waiting for ever; see "Resting" below.
// - In each iteration the kernel walks everything that is ready. If many sources become ready at once, they cost their
//   number squared; see "Going on" below.
// - epoll reports HUP and ERR also if nobody asked for them. Therefore the shim switches a watch without interest off.
// - A loop can't be iterated from its own handlers (EBUSY). The handlers may remove any source, also their own, and may
//   release the loop.
// - A loop that has exited accepts no more changes (ESTALE), but its sources can be released.
// - After a fork every call except the last unref is refused (ECHILD). The last unref does not touch the kernel's set.
// - A handler that returns a negative number is switched off. A null handler ends the loop. Neither happens here.
//
// Time: sd-event counts microseconds. The deadline is rounded up and the loop's own time is rounded down, so a deadline
// is never early. An accuracy of 0 would mean 250 ms. The time source is made with the first deadline, since with it
// the loop opens a timerfd and keeps it. A guest under aggregate hosting needs no time source.
//
// A turn of an owned loop calls on_deadline if it is due, and then makes one iteration. Before each iteration sd-event
// asks the kernel again. A second iteration would therefore report again what the guest has only noted so far. An
// interrupted wait looks like a source that was dispatched, so a turn remembers whether it made an up-call.
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
constexpr std::uint64_t kRest = 1'000'000;  // how long a rest lasts, in ns, if the host always has something else to do
constexpr std::uint64_t kAccuracy = 1;      // the finest accuracy, in microseconds

constexpr std::size_t kFew = 32;            // with fewer watches a search for others gains nothing
constexpr unsigned kSeldom = 16;            // one of so many up-calls looks whether another watch is pending too
constexpr std::size_t kMore = 64;           // for each pending watch that it finds, it looks at so many more watches
constexpr std::uint64_t kGoOn = 4'000'000;  // how long this goes on, in ns, on the application's loop: half of a turn
constexpr std::size_t kBatch = 256;         // how many watches are called on an owned loop

struct SdLoop;

/// A source that the guest has in the host.
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
  int frames = 0;       // frames on the stack; the outermost frees the loop if detach was called meanwhile
  int priority = SD_EVENT_PRIORITY_NORMAL;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  Member timer{this, nullptr, 0};  // the deadline; its source is made when it is first needed

  std::vector<Member*> members;  // the members that rest come first
  std::size_t resting = 0;
  std::uint64_t ended = 0;       // when the last up-call ended
  Member* timekeeper = nullptr;  // the resting member that watches the clock
  FairnessBudget fairness;

  unsigned until_look = kSeldom;  // after so many up-calls, an up-call looks for other pending watches
  bool found = false;             // the last look found a pending watch
  std::size_t below = 0;          // where the last search ended
  std::uint32_t anywhere = 0;     // where the next search may begin
  const Member* early = nullptr;  // the watch that is called although it is still pending; null if it was removed
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

/// Removes a source for good, also a source whose handler is on the stack.
void drop(const SdLoop& own, sd_event_source* source) {
  if (own.abandoned) {
    sd_event_source_unref(source);  // the loop belongs to the parent; sd-event refuses any other call
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
// The guest rests when it has been ready for a while without a pause (FairnessBudget). Then each of its sources is
// called once more and takes the lowest priority. Everything else that the host has pending goes first.
//
// When the first of these sources is called at the lowest priority, nothing else was left, and all of them get their
// priority back. The host may always have something to do: idle work, or work of the application at the guest's own
// priority. Then the sources get their priority back 1 ms after the last call. The prepare callback of one of them does
// this. The host makes this callback at the beginning of an iteration. A timer would cost two system calls for each
// rest. A source that is switched off has no prepare callback, and needs none.

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

/// While sources rest, one resting source that is switched on watches the clock.
void keep_time(SdLoop& own) {
  for (std::size_t i = 0; i < own.resting && !own.timekeeper; ++i) {
    int enabled = SD_EVENT_OFF;
    sd_event_source_get_enabled(own.members[i]->source, &enabled);
    if (enabled == SD_EVENT_OFF) continue;
    own.timekeeper = own.members[i];
    if (sd_event_source_set_prepare(own.timekeeper->source, on_prepare) < 0) end_rest(own);
  }
}

/// Must be called when the source of the member was switched on or off.
void switched(SdLoop& own, const Member& member) {
  if (own.timekeeper == &member) release_timekeeper(own);
  keep_time(own);
}

void rest(SdLoop& own, Member& member) {
  sd_event_source_set_priority(member.source, kLowest);
  exchange(own, member.index, own.resting++);
}

// ---- up-calls ----

/// Keeps the loop alive until the end of the frame, whatever is called in it.
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

/// One up-call of a member.
class UpCall : Frame {
 public:
  [[gnu::always_inline]] explicit UpCall(Member& member) : Frame(*member.loop) {
    own_.called = true;
    if (own_.owned) return;  // nobody else uses an owned loop
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
// The call of one watch goes on to other watches of the guest that are pending too. So the kernel walks what is ready
// once for all of them. sd-event says whether a given source is pending, but it does not say which sources are pending.
//
// On an owned loop there is a sign that a source is pending: the loop does not have to wait. On the application's loop
// one up-call in kSeldom looks. It looks at one watch, and for each pending watch that it finds it looks at kMore
// further watches. If it has found a watch, the next up-call looks too. If at least one watch in kMore is pending, all
// pending watches are found. If hardly any watch is pending, the shim looks at hardly any watch.
//
// The search begins beside the watch that was called, since watches that were added together often become ready
// together. Or it begins anywhere, since the host may call adjacent watches last. From then on it goes round. So every
// watch has its turn even if one call can't reach all of them.
//
// A watch that was called early must be pending no more. Otherwise the host would make its call too, and would ask the
// kernel once more. A change of the events of a source takes its pending event back. The kernel reports EPOLLERR
// whether it is among the events or not. Therefore the shim adds or removes EPOLLERR.
//
// On the application's loop this ends after kGoOn, and when the application has asked its loop to exit. Watches that
// rest are left out, since everything else goes first.

bool is_pending(const SdLoop& own, const Member& member) {
  return &member != &own.timer && sd_event_source_get_pending(member.source) > 0;
}

void take_back(const SdWatch& watch) {
  if (sd_event_source_get_pending(watch.source) <= 0) return;  // a change of its interest has already taken it back
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

/// @param began When the first of the watches was called.
bool may_go_on(const SdLoop& own, std::uint64_t began, std::size_t called) {
  if (own.detached || own.abandoned) return false;
  if (own.owned) return called < kBatch;
  int code = 0;
  return own.ended - began < kGoOn && sd_event_get_exit_code(own.event.get(), &code) < 0;
}

/// @param place The index of the watch that the host has called.
/// @return The index below which the search begins.
std::size_t first_look(SdLoop& own, std::size_t place) {
  own.anywhere = own.anywhere * 1'664'525u + 1'013'904'223u;  // a sequence without a pattern
  if (own.found) return own.below;
  if ((own.anywhere >> 31) != 0) return place;
  return own.resting + (own.anywhere >> 8) % (own.members.size() - own.resting) + 1;
}

/// Calls other pending watches. The search goes downwards, so that a removal skips no watch.
///
/// @return How many watches were called.
std::size_t call_others(SdLoop& own, std::size_t place) {
  if (own.members.size() <= own.resting || (!own.owned && own.members.size() < kFew)) return 0;
  const std::uint64_t began = own.fairness.started();
  std::size_t called = 0;
  std::size_t looks = own.found ? kMore : 1;
  std::size_t below = first_look(own, place);
  bool more = may_go_on(own, began, called);
  for (std::size_t left = own.members.size(); more && looks > 0 && left > 0; --left, --looks) {
    if (below <= own.resting || below > own.members.size()) below = own.members.size();
    if (below <= own.resting) break;  // there is no other watch
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
  } else if (event == SD_EVENT_DEFAULT) {  // a name of the default loop, not a pointer
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

/// Puts an empty set in the place of the loop's epoll set, in a child that has the same pid as its parent. A child in a
/// PID namespace of its own can have that pid. sd-event compares pids, so it does not see that this process is a child.
/// It would take the sources out of the set that is shared with the parent. In any other child sd_event_get_fd() fails,
/// and there is nothing to do.
void hide_set(sd_event* event) {
  const int place = sd_event_get_fd(event);
  if (place < 0) return;
  const int empty = epoll_create1(EPOLL_CLOEXEC);
  if (empty < 0) {
    dup3(STDERR_FILENO, place, O_CLOEXEC);  // there is then no set at all
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
    if (result == -ENOENT) {  // the number is now that of another file: sd-event has to add it again
      sd_event_source_set_enabled(own.source, SD_EVENT_OFF);
      result = sd_event_source_set_io_events(own.source, events_of(interest));
      if (result >= 0) result = sd_event_source_set_enabled(own.source, SD_EVENT_ON);
    }
    if (result >= 0 && !own.interest) result = sd_event_source_set_enabled(own.source, SD_EVENT_ON);
  }
  const bool lowers = (interest & ~own.interest) == 0;
  if (result < 0 && !lowers) return result;  // a loop that has exited refuses to lower, but it makes no calls anyway
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

/// sd-event's priorities have 64 bits, so every int is a valid priority. Either all priorities can be set or, after the
/// loop has exited, none.
int priority_set(onloop_loop* loop, int priority) {
  SdLoop& own = self(loop);
  for (std::size_t i = own.resting; i < own.members.size(); ++i) {
    const int result = sd_event_source_set_priority(own.members[i]->source, priority);
    if (result < 0) return result;
  }
  own.priority = priority;
  return 0;
}

/// Does what sd_event_run does, except that the deadline comes first.
int iterate(SdLoop& own, std::uint64_t limit) {
  int result = sd_event_prepare(own.event.get());
  if (result == 0) {
    result = sd_event_wait(own.event.get(), limit);
  } else if (result > 0) {
    own.until_look = 1;  // other sources are pending
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
  while ((result = iterate(own, limit)) > 0 && !own.called) {  // the wait was interrupted
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
