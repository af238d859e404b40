/* The same as echo_on_own_poll_loop.cpp in C11: an application on a poll(2) loop of its own, and its table for onloop.
 * Only echo_on_own_poll_loop_in_c.cpp is C++, since it calls onloop's C++ interface.
 *
 *     echo_on_own_poll_loop_in_c [ADDRESS]      default: 127.0.0.1:0; SIGINT or SIGTERM end it */
#include "echo_on_own_poll_loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* ---- the loop, which knows nothing of onloop ---- */

enum { MOST = 16 };

struct handler {
  void (*call)(struct handler* handler, short revents); /* null: the place is free */
  int fd;
  short events; /* 0: not polled, since poll() reports a hang-up even then */
  void* data;
  void (*function)(void* data, uint32_t argument); /* `call` calls this */
};

struct poll_loop {
  struct handler handlers[MOST];
  bool running;
};

/* Returns the first free place, or null. */
static struct handler* free_place(struct poll_loop* loop) {
  for (struct handler* place = loop->handlers; place < loop->handlers + MOST; ++place) {
    if (!place->call) return place;
  }
  return NULL;
}

/* Returns false if the loop can't wait any more. The reason is in errno. */
static bool turn(struct poll_loop* loop) {
  struct pollfd set[MOST];
  for (int i = 0; i < MOST; ++i) {
    const struct handler* handler = &loop->handlers[i];
    const bool polled = handler->call && handler->events;
    set[i] = (struct pollfd){.fd = polled ? handler->fd : -1, .events = handler->events};
  }
  if (poll(set, MOST, -1) < 0) return errno == EINTR;
  for (int i = 0; i < MOST; ++i) {
    struct handler* handler = &loop->handlers[i];
    /* A place may be freed and taken again in this turn. Then it is called for an event of its former owner. onloop
     * allows such spurious calls. */
    if (handler->call && set[i].revents) handler->call(handler, set[i].revents);
  }
  return true;
}

/* ---- the table: what onloop asks of a loop ---- */

struct attachment {
  struct poll_loop* loop;
  onloop_guest guest;
};

static int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (!foreign) return -EINVAL; /* this table makes no loop; the application owns its loop */
  struct attachment* made = malloc(sizeof *made);
  if (!made) return -ENOMEM;
  *made = (struct attachment){.loop = foreign};
  /* The structure of an older onloop is shorter. What it does not have stays null. */
  memcpy(&made->guest, guest, guest->struct_size < sizeof made->guest ? guest->struct_size : sizeof made->guest);
  *loop = (onloop_loop*)made;
  return 0;
}

static void detach(onloop_loop* loop) {
  free(loop);
}

static void call_onloop(struct handler* handler, short revents) {
  /* An earlier call of this turn may have changed the events. */
  const int now = ((revents & (POLLERR | POLLHUP)) ? POLLIN | POLLOUT | POLLPRI : revents) & handler->events;
  const uint32_t ready = ((now & POLLIN) ? ONLOOP_READ : 0u) | ((now & POLLOUT) ? ONLOOP_WRITE : 0u) |
                         ((now & POLLPRI) ? ONLOOP_PRIORITY : 0u);
  if (ready) handler->function(handler->data, ready);
}

static int watch_set(onloop_loop* loop, onloop_watch* watch, uint32_t interest) {
  (void)loop;
  const int events = ((interest & ONLOOP_READ) ? POLLIN : 0) | ((interest & ONLOOP_WRITE) ? POLLOUT : 0) |
                     ((interest & ONLOOP_PRIORITY) ? POLLPRI : 0);
  ((struct handler*)watch)->events = (short)events;
  return 0;
}

static int watch_add(onloop_loop* loop, int fd, uint32_t interest, void* watch_context, onloop_watch** watch) {
  const struct attachment* own = (struct attachment*)loop;
  struct handler* handler = free_place(own->loop);
  if (!handler) return -ENOSPC; /* never under aggregate hosting, which takes one place for a context */
  *handler = (struct handler){.call = call_onloop, .fd = fd, .data = watch_context, .function = own->guest.on_ready};
  *watch = (onloop_watch*)handler;
  return watch_set(loop, *watch, interest);
}

static void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  (void)loop;
  ((struct handler*)watch)->call = NULL;
}

static const onloop_ops own_poll_ops = {
    .version = ONLOOP_OPS_VERSION,
    .struct_size = sizeof(onloop_ops),
    .name = "own-poll-in-c",
    .attach = attach,
    .detach = detach,
    .watch_add = watch_add,
    .watch_set = watch_set,
    .watch_remove = watch_remove, /* the optional slots are null: the core does without them */
};

/* ---- the application ---- */

static void on_signal(struct handler* handler, short revents) {
  (void)revents;
  ((struct poll_loop*)handler->data)->running = false;
}

int main(int argc, char** argv) {
  struct poll_loop loop = {.running = true};
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  *free_place(&loop) = (struct handler){.call = on_signal, .fd = signal_fd, .events = POLLIN, .data = &loop};

  struct echo_service* service = echo_service_start(&own_poll_ops, &loop, argc > 1 ? argv[1] : "127.0.0.1:0");
  if (!service) return 1;
  bool waits = true;
  while (loop.running && waits) waits = turn(&loop);
  if (!waits) perror("echo_on_own_poll_loop_in_c: poll");
  echo_service_stop(service);
  close(signal_fd);
  return waits ? 0 : 1;
}
