// The shim for GLib's GMainContext.
//
// An iteration of GLib calls each source in three steps. First comes prepare, which says how long the poll may last.
// After the poll comes check, which says whether the source is ready. Then comes dispatch. One source stands for the
// whole guest. It has a GPollFD for each watch.
//
// - g_source_modify_unix_fd() and g_source_set_ready_time() wake the poll, each by a write and a read of an eventfd.
//   Therefore the shim adds its GPollFDs with g_main_context_add_poll() and changes their `events` in place, which GLib
//   reads again for each poll. The shim computes the deadline in prepare and check.
// - poll(2) reports HUP and ERR also if nobody asked for them. Therefore a watch without interest is taken out of GLib.
// - GLib blocks an ordinary source while it dispatches it, which costs three more system calls. This source may
//   recurse, so GLib does not block it. The guest is then also served while the application iterates the main loop
//   inside a callback. A nested dispatch takes the batch over. GLib reports again what the outer dispatch had left.
// - GLib dispatches sources by priority. A source that is always ready keeps the sources of lower priority waiting for
//   ever. Therefore the guest is not ready for one iteration after some milliseconds without a wait; see
//   FairnessBudget.
// - GLib counts milliseconds. The wait for a deadline is rounded up, and the deadline is compared in nanoseconds.

#include <glib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <onloop/glib.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
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

struct GlibWatch {
  GPollFD poll;
  std::uint32_t interest;
  std::size_t index;  // in GlibLoop::watches
  void* context;
};

struct Ready {
  GlibWatch* watch;  // null if the watch was removed
  std::uint32_t readiness;
};

struct GlibLoop {
  onloop_guest guest;
  GMainContext* main;
  bool owned;
  bool detached = false;
  bool abandoned = false;
  GSource* source = nullptr;
  int priority = G_PRIORITY_DEFAULT;
  int frames = 0;       // calls of turn and dispatch on the stack; the outermost frees the loop if detach was called
  bool called = false;  // an up-call was made in this turn
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  std::uint64_t turn_end = ONLOOP_NO_DEADLINE;
  FairnessBudget fairness;
  std::vector<GlibWatch*> watches;
  std::vector<Ready> batch;
  std::size_t next = 0;  // the index in the batch of the first event that is not reported yet
};

GlibLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<GlibLoop*>(loop);
}
GlibWatch& self(onloop_watch* watch) {
  return *reinterpret_cast<GlibWatch*>(watch);
}

gushort events_of(std::uint32_t interest) {
  return static_cast<gushort>(((interest & ONLOOP_READ) ? G_IO_IN : 0) | ((interest & ONLOOP_WRITE) ? G_IO_OUT : 0) |
                              ((interest & ONLOOP_PRIORITY) ? G_IO_PRI : 0));
}

std::uint32_t readiness_of(gushort revents, std::uint32_t interest) {
  if (revents & (G_IO_ERR | G_IO_HUP | G_IO_NVAL)) return interest;
  return interest & (((revents & G_IO_IN) ? ONLOOP_READ : 0u) | ((revents & G_IO_OUT) ? ONLOOP_WRITE : 0u) |
                     ((revents & G_IO_PRI) ? ONLOOP_PRIORITY : 0u));
}

// ---- the source ----

struct GuestSource {
  GSource base;
  GlibLoop* loop;
};

GlibLoop& loop_of(GSource* source) {
  return *reinterpret_cast<GuestSource*>(source)->loop;
}

/// Frees what the guest left in the copy of the main context that a forked child continues to use.
void forget(GlibLoop* loop) {
  for (GlibWatch* watch : loop->watches) {
    if (watch->interest) g_main_context_remove_poll(loop->main, &watch->poll);
    delete watch;
  }
  g_source_unref(loop->source);
  g_main_context_unref(loop->main);
  delete loop;
}

/// @return The milliseconds until `at`, rounded up; -1 for never.
int milliseconds_until(std::uint64_t at) {
  if (at == ONLOOP_NO_DEADLINE) return -1;
  const std::uint64_t now = now_ns();
  if (at <= now) return 0;
  return static_cast<int>(std::min<std::uint64_t>((at - now - 1) / 1'000'000u + 1, INT_MAX));
}

gboolean prepare(GSource* source, int* timeout) {
  const GlibLoop& loop = loop_of(source);
  *timeout = milliseconds_until(std::min(loop.deadline, loop.turn_end));
  return FALSE;  // also not for a deadline that has passed: GLib polls the descriptors first
}

bool deadline_passed(const GlibLoop& loop) {
  return loop.deadline != ONLOOP_NO_DEADLINE && now_ns() >= loop.deadline;
}

gboolean check(GSource* source) {
  GlibLoop& loop = loop_of(source);
  if (loop.abandoned) return loop.frames == 0;
  const auto ready = [](const GlibWatch* watch) { return readiness_of(watch->poll.revents, watch->interest) != 0; };
  if (!std::any_of(loop.watches.begin(), loop.watches.end(), ready) && !deadline_passed(loop)) return FALSE;
  return !loop.owned && loop.fairness.rest(loop.watches.size()) ? FALSE : TRUE;  // nobody else uses an owned loop
}

void fetch(GlibLoop& loop) {
  loop.next = 0;
  loop.batch.clear();
  for (GlibWatch* watch : loop.watches) {
    const std::uint32_t readiness = readiness_of(watch->poll.revents, watch->interest);
    watch->poll.revents = 0;
    if (readiness) loop.batch.push_back({watch, readiness});
  }
}

/// Frees a loop after detach. There are two exceptions. If a frame of the loop is on the stack, the outermost frame
/// frees it. If GLib still has the source, the loop stays; see detach.
void free_if_over(GlibLoop& loop) {
  if (!loop.detached || loop.frames > 0 || (loop.abandoned && !loop.owned)) return;
  g_main_context_unref(loop.main);
  delete &loop;
}

void leave(GlibLoop& loop) {
  --loop.frames;
  free_if_over(loop);
}

gboolean dispatch(GSource* source, GSourceFunc, void*) {
  GlibLoop& loop = loop_of(source);
  if (loop.abandoned) {
    forget(&loop);
    return G_SOURCE_REMOVE;
  }
  ++loop.frames;
  loop.called = true;
  fetch(loop);
  if (deadline_passed(loop)) {
    loop.deadline = ONLOOP_NO_DEADLINE;
    loop.guest.on_deadline(loop.guest.context);
  }
  while (loop.next < loop.batch.size()) {
    const auto [watch, readiness] = loop.batch[loop.next++];
    if (!watch) continue;
    if (const std::uint32_t wanted = readiness & watch->interest) loop.guest.on_ready(watch->context, wanted);
  }
  if (!loop.owned) loop.fairness.end();
  leave(loop);
  return G_SOURCE_CONTINUE;
}

GSourceFuncs source_functions{prepare, check, dispatch, nullptr, nullptr, nullptr};

// ---- the slots ----

/// Polls, and after a transient failure sleeps for a moment. GLib logs a warning if a poll fails, and asks again at
/// once.
int poll_or_rest(GPollFD* descriptors, unsigned count, int timeout) {
  const int ready = g_poll(descriptors, count, timeout);
  if (ready >= 0 || !is_transient(errno)) return ready;
  rest_a_moment(timeout == 0 ? 0 : -1);
  return 0;
}

/// Makes a main context. g_main_context_new() ends the process if it can't get a descriptor. Therefore this function
/// first tries whether a descriptor can be had.
int new_main_context(GMainContext** main) {
  const int probe = eventfd(0, EFD_CLOEXEC);
  if (probe < 0) return -errno;
  close(probe);
  *main = g_main_context_new();
  g_main_context_set_poll_func(*main, poll_or_rest);
  return 0;
}

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  auto* made = new (std::nothrow) GlibLoop{
      .guest = copy_of(*guest), .main = nullptr, .owned = !foreign, .fairness = {}, .watches = {}, .batch = {}};
  if (!made) return -ENOMEM;
  if (foreign) {
    made->main = g_main_context_ref(static_cast<GMainContext*>(foreign));
  } else if (const int error = new_main_context(&made->main); error < 0) {
    delete made;
    return error;
  }
  made->source = g_source_new(&source_functions, sizeof(GuestSource));
  reinterpret_cast<GuestSource*>(made->source)->loop = made;
  g_source_set_static_name(made->source, "onloop");
  g_source_set_can_recurse(made->source, TRUE);
  g_source_attach(made->source, made->main);
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  GlibLoop& own = self(loop);
  own.detached = true;
  own.batch.clear();
  if (own.abandoned && !own.owned) return;  // removing the source would write to an eventfd that the parent polls
  if (!own.abandoned) g_source_destroy(own.source);
  g_source_unref(own.source);
  for (GlibWatch* watch : own.watches) delete watch;  // only an abandoned loop still has watches here
  free_if_over(own);
}

void abandon(onloop_loop* loop) {
  self(loop).abandoned = true;
  self(loop).batch.clear();
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) try {
  GlibLoop& own = self(loop);
  auto made =
      std::make_unique<GlibWatch>(GlibWatch{{fd, events_of(interest), 0}, interest, own.watches.size(), watch_context});
  own.batch.reserve(own.watches.size() + 1);  // so that no dispatch allocates memory
  own.watches.push_back(made.get());
  if (interest) g_main_context_add_poll(own.main, &made->poll, own.priority);
  *watch = reinterpret_cast<onloop_watch*>(made.release());
  return 0;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  GlibLoop& own = self(loop);
  GlibWatch& changed = self(watch);
  const bool was_polled = changed.interest != ONLOOP_NONE;
  changed.interest = interest;
  changed.poll.events = events_of(interest);
  if (was_polled && !interest) {
    g_main_context_remove_poll(own.main, &changed.poll);
    changed.poll.revents = 0;
  } else if (!was_polled && interest) {
    g_main_context_add_poll(own.main, &changed.poll, own.priority);
  }
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  GlibLoop& own = self(loop);
  if (own.abandoned) return;
  GlibWatch* gone = &self(watch);
  if (gone->interest) g_main_context_remove_poll(own.main, &gone->poll);
  own.watches[gone->index] = own.watches.back();
  own.watches[gone->index]->index = gone->index;
  own.watches.pop_back();
  for (std::size_t i = own.next; i < own.batch.size(); ++i) {
    if (own.batch[i].watch == gone) own.batch[i].watch = nullptr;
  }
  delete gone;
}

int deadline_set(onloop_loop* loop, std::uint64_t at_ns) {
  self(loop).deadline = at_ns;
  return 0;
}

int priority_set(onloop_loop* loop, int priority) {
  GlibLoop& own = self(loop);
  own.priority = priority;
  g_source_set_priority(own.source, priority);
  for (GlibWatch* watch : own.watches) {
    if (!watch->interest) continue;
    g_main_context_remove_poll(own.main, &watch->poll);
    g_main_context_add_poll(own.main, &watch->poll, priority);
  }
  return 0;
}

/// Iterates until an up-call was made or the time is over. One iteration may not be enough: GLib also returns after a
/// signal or after a wake-up of its own.
int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  GlibLoop& own = self(loop);
  const std::uint64_t outer_end = own.turn_end;
  const std::uint64_t end = max_wait_ns < 0    ? ONLOOP_NO_DEADLINE
                            : max_wait_ns == 0 ? 0
                                               : now_ns() + static_cast<std::uint64_t>(max_wait_ns);
  const bool outer_called = std::exchange(own.called, false);
  ++own.frames;
  do {
    own.turn_end = end;
    g_main_context_iteration(own.main, max_wait_ns != 0);
    own.turn_end = outer_end;
  } while (!own.called && !own.detached && max_wait_ns != 0 && (end == ONLOOP_NO_DEADLINE || now_ns() < end));
  own.called |= outer_called;
  leave(own);
  return 0;
}

}  // namespace

Loop glib() noexcept {
  return Loop{onloop_shim_glib}.aggregate();
}

Loop glib(GMainContext* context) {
  if (!context) {
    throw std::system_error(EINVAL, std::generic_category(),
                            "onloop::glib(): the GMainContext is null; g_main_context_default() gives the main one");
  }
  return Loop{onloop_shim_glib, context};
}

}  // namespace onloop

const onloop_ops onloop_shim_glib = {.version = ONLOOP_OPS_VERSION,
                                     .struct_size = sizeof(onloop_ops),
                                     .name = "glib",
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
