// The native loop on poll(2). It is portable and is the plainest example of a shim.
//
// - poll() reports HUP and ERR also if nobody asked for them. Therefore the shim hides a watch without interest from
//   poll() by a negative number.
// - Callbacks add to the poll set and remove from it. Therefore the shim copies everything that is ready into a batch
//   before the first up-call.
// - A turn that a callback starts takes the batch over. The kernel reports again what the outer turn had left.

#include <poll.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "shims/guest.hpp"
#include "shims/native/native.hpp"
#include "shims/native/wait.hpp"
#include "shims/transient.hpp"

namespace onloop::native_loop {
namespace {

struct PollWatch {
  std::size_t index;  // in both vectors of the loop
  int fd;
  std::uint32_t interest;
  void* context;
};

struct Ready {
  PollWatch* watch;  // null if the watch was removed
  std::uint32_t readiness;
};

struct PollLoop {
  onloop_guest guest;
  bool detached = false;
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;
  int turns = 0;  // how many turns are on the stack; the outermost frees the loop if detach was called meanwhile
  std::vector<pollfd> set;
  std::vector<PollWatch*> watches;
  std::size_t next = 0;  // the index in the batch of the first event that is not reported yet
  std::vector<Ready> batch;
};

PollLoop& self(onloop_loop* loop) {
  return *reinterpret_cast<PollLoop*>(loop);
}
PollWatch& self(onloop_watch* watch) {
  return *reinterpret_cast<PollWatch*>(watch);
}

pollfd entry_for(const PollWatch& watch) {
  const int events = ((watch.interest & ONLOOP_READ) ? POLLIN : 0) | ((watch.interest & ONLOOP_WRITE) ? POLLOUT : 0) |
                     ((watch.interest & ONLOOP_PRIORITY) ? POLLPRI : 0);
  return {.fd = watch.interest ? watch.fd : -1, .events = static_cast<short>(events), .revents = 0};
}

std::uint32_t readiness_of(int revents, std::uint32_t interest) {
  if (revents & (POLLERR | POLLHUP | POLLNVAL)) return interest;
  return interest & (((revents & POLLIN) ? ONLOOP_READ : 0u) | ((revents & POLLOUT) ? ONLOOP_WRITE : 0u) |
                     ((revents & POLLPRI) ? ONLOOP_PRIORITY : 0u));
}

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (foreign) return -EINVAL;
  auto* made = new (std::nothrow) PollLoop{.guest = copy_of(*guest), .set = {}, .watches = {}, .batch = {}};
  if (!made) return -ENOMEM;
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  PollLoop& own = self(loop);
  own.detached = true;
  own.batch.clear();
  if (own.turns == 0) delete &own;
}

void abandon(onloop_loop*) {}  // the kernel knows nothing of this loop

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) try {
  PollLoop& own = self(loop);
  auto made = std::make_unique<PollWatch>(PollWatch{own.watches.size(), fd, interest, watch_context});
  own.watches.push_back(made.get());
  try {
    own.batch.reserve(own.watches.capacity());  // so that no turn allocates
    own.set.push_back(entry_for(*made));
  } catch (...) {
    own.watches.pop_back();
    throw;
  }
  *watch = reinterpret_cast<onloop_watch*>(made.release());
  return 0;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int watch_set(onloop_loop* loop, onloop_watch* watch, std::uint32_t interest) {
  PollWatch& own = self(watch);
  own.interest = interest;
  self(loop).set[own.index] = entry_for(own);
  return 0;
}

void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  PollLoop& own = self(loop);
  PollWatch* gone = &self(watch);
  own.set[gone->index] = own.set.back();
  own.watches[gone->index] = own.watches.back();
  own.watches[gone->index]->index = gone->index;
  own.set.pop_back();
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

int wait(PollLoop& loop, std::int64_t max_wait_ns) {
  Wait limit(max_wait_ns, loop.deadline);
  for (;;) {
    const int count = ppoll(loop.set.data(), loop.set.size(), limit.remaining(), nullptr);
    if (count >= 0) return count;
    if (errno == EINTR) continue;
    if (!is_transient(errno)) return -errno;
    rest_a_moment(max_wait_ns);
    if (max_wait_ns == 0) return 0;  // nothing is known to be ready
  }
}

void fetch(PollLoop& loop, int count) {
  loop.next = 0;
  loop.batch.clear();
  for (std::size_t i = 0; count > 0; ++i) {
    if (loop.set[i].revents == 0) continue;
    --count;
    loop.batch.push_back({loop.watches[i], readiness_of(loop.set[i].revents, loop.watches[i]->interest)});
  }
}

int turn(onloop_loop* loop, std::int64_t max_wait_ns) {
  PollLoop& own = self(loop);
  const int count = wait(own, max_wait_ns);
  if (count < 0) return count;
  fetch(own, count);
  ++own.turns;
  if (own.deadline != ONLOOP_NO_DEADLINE && now_ns() >= own.deadline) {
    own.deadline = ONLOOP_NO_DEADLINE;
    own.guest.on_deadline(own.guest.context);
  }
  while (own.next < own.batch.size()) {
    const auto [watch, readiness] = own.batch[own.next++];
    if (!watch) continue;
    if (const std::uint32_t wanted = readiness & watch->interest) own.guest.on_ready(watch->context, wanted);
  }
  if (--own.turns == 0 && own.detached) delete &own;
  return 0;
}

}  // namespace

const onloop_ops& poll_ops() noexcept {
  static constexpr onloop_ops kOps{.version = ONLOOP_OPS_VERSION,
                                   .struct_size = sizeof(onloop_ops),
                                   .name = "native-poll",
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
                                   .fd = nullptr};
  return kOps;
}

}  // namespace onloop::native_loop
