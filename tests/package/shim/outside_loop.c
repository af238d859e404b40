/* A shim outside the tree. It uses only an installed loop_ops.h. Its loop is an owned loop on poll(2) without
 * deadlines. Built as libonloop-outside.so, the shim can be loaded by name. */
#include <errno.h>
#include <onloop/loop_ops.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

struct watch {
  struct watch* next;
  int fd;
  uint32_t interest;
  void* context; /* null once it is removed: then the outermost turn frees it */
};

struct loop {
  onloop_guest guest;
  struct watch* watches;
  size_t count;
  int turns; /* on the stack */
  bool detached;
};

static void tidy(struct loop* loop) {
  if (loop->turns > 0) return;
  for (struct watch** each = &loop->watches; *each;) {
    struct watch* watch = *each;
    if (watch->context && !loop->detached) {
      each = &watch->next;
      continue;
    }
    *each = watch->next;
    --loop->count;
    free(watch);
  }
  if (loop->detached) free(loop);
}

static int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (foreign) return -EINVAL;
  struct loop* made = calloc(1, sizeof *made);
  if (!made) return -ENOMEM;
  made->guest = *guest;
  *loop = (onloop_loop*)made;
  return 0;
}

static void detach(onloop_loop* loop) {
  ((struct loop*)loop)->detached = true;
  tidy((struct loop*)loop);
}

static int watch_add(onloop_loop* loop, int fd, uint32_t interest, void* watch_context, onloop_watch** watch) {
  struct loop* own = (struct loop*)loop;
  struct watch* made = malloc(sizeof *made);
  if (!made) return -ENOMEM;
  *made = (struct watch){.next = own->watches, .fd = fd, .interest = interest, .context = watch_context};
  own->watches = made;
  ++own->count;
  *watch = (onloop_watch*)made;
  return 0;
}

static int watch_set(onloop_loop* loop, onloop_watch* watch, uint32_t interest) {
  (void)loop;
  ((struct watch*)watch)->interest = interest;
  return 0;
}

static void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  ((struct watch*)watch)->context = NULL;
  tidy((struct loop*)loop);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int wait_for(struct pollfd* set, size_t count, int64_t max_wait_ns) {
  const int64_t end = now_ns() + max_wait_ns;
  for (;;) {
    const int64_t left = max_wait_ns > 0 ? end - now_ns() : 0;
    const int milliseconds = max_wait_ns < 0 ? -1 : left > 0 ? (int)((left + 999999) / 1000000) : 0;
    if (poll(set, (nfds_t)count, milliseconds) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

static int turn(onloop_loop* loop, int64_t max_wait_ns) {
  struct loop* own = (struct loop*)loop;
  const size_t count = own->count;
  struct pollfd* set = calloc(count + 1, sizeof *set);
  struct watch** watches = calloc(count + 1, sizeof *watches);
  int result = set && watches ? 0 : -ENOMEM;
  if (result == 0) {
    size_t n = 0;
    for (struct watch* watch = own->watches; watch; watch = watch->next, ++n) {
      const int events = (watch->interest & ONLOOP_READ ? POLLIN : 0) | (watch->interest & ONLOOP_WRITE ? POLLOUT : 0) |
                         (watch->interest & ONLOOP_PRIORITY ? POLLPRI : 0);
      watches[n] = watch;
      set[n] = (struct pollfd){.fd = watch->context && events ? watch->fd : -1, .events = (short)events};
    }
    ++own->turns;
    result = wait_for(set, n, max_wait_ns);
    for (size_t i = 0; i < n && result == 0 && !own->detached; ++i) {
      const int ready = set[i].revents & (POLLERR | POLLHUP | POLLNVAL) ? POLLIN | POLLOUT | POLLPRI : set[i].revents;
      const uint32_t bits = (ready & POLLIN ? ONLOOP_READ : 0) | (ready & POLLOUT ? ONLOOP_WRITE : 0) |
                            (ready & POLLPRI ? ONLOOP_PRIORITY : 0);
      if (watches[i]->context && set[i].revents && (bits & watches[i]->interest)) {
        own->guest.on_ready(watches[i]->context, bits & watches[i]->interest);
      }
    }
    --own->turns;
    tidy(own);
  }
  free(set);
  free(watches);
  return result;
}

static void abandon(onloop_loop* loop) {
  (void)loop; /* the kernel knows nothing of this loop */
}

const onloop_ops ONLOOP_SHIM(outside) = {.version = ONLOOP_OPS_VERSION,
                                         .struct_size = sizeof(onloop_ops),
                                         .name = "outside",
                                         .attach = attach,
                                         .detach = detach,
                                         .watch_add = watch_add,
                                         .watch_set = watch_set,
                                         .watch_remove = watch_remove,
                                         .turn = turn,
                                         .abandon = abandon};
