/* A C compiler reads the contract here. The test shows that the header alone is valid C11, that the tables can be
 * written in C, and that the layout grows only at the end. A slot that moves breaks every shim that was built
 * separately, so the order of the slots is written out here. */
#include <onloop/loop_ops.h>

#include <stddef.h>

#define AFTER(structure, member, previous) \
  _Static_assert(offsetof(structure, member) > offsetof(structure, previous), #member " comes after " #previous)
#define OPS_SLOT(member, index)                                                                  \
  _Static_assert(offsetof(onloop_ops, member) == 2 * sizeof(uint32_t) + (index) * sizeof(void*), \
                 #member " has moved within onloop_ops")

_Static_assert(ONLOOP_OPS_VERSION == 0x10001, "version 1.1");
_Static_assert(ONLOOP_NONE == 0 && ONLOOP_READ == 1 && ONLOOP_WRITE == 2 && ONLOOP_PRIORITY == 4, "bits of interest");
_Static_assert(ONLOOP_ERROR == 8, "of readiness only");
_Static_assert(ONLOOP_NO_DEADLINE == UINT64_MAX, "no deadline");

_Static_assert(offsetof(onloop_guest, version) == 0, "the version comes first");
AFTER(onloop_guest, struct_size, version);
AFTER(onloop_guest, context, struct_size);
AFTER(onloop_guest, on_ready, context);
AFTER(onloop_guest, on_deadline, on_ready);
_Static_assert(sizeof(onloop_guest) == 2 * sizeof(uint32_t) + 3 * sizeof(void*), "size of onloop_guest");

_Static_assert(offsetof(onloop_ops, version) == 0, "the version comes first");
_Static_assert(offsetof(onloop_ops, struct_size) == sizeof(uint32_t), "then the size");
OPS_SLOT(name, 0);
OPS_SLOT(attach, 1);
OPS_SLOT(detach, 2);
OPS_SLOT(watch_add, 3);
OPS_SLOT(watch_set, 4);
OPS_SLOT(watch_remove, 5);
OPS_SLOT(deadline_set, 6);
OPS_SLOT(priority_set, 7);
OPS_SLOT(keepalive, 8);
OPS_SLOT(run, 9);
OPS_SLOT(stop, 10);
OPS_SLOT(turn, 11);
OPS_SLOT(abandon, 12);
OPS_SLOT(fd, 13);
_Static_assert(sizeof(onloop_ops) == 2 * sizeof(uint32_t) + 14 * sizeof(void*), "size of onloop_ops");

/* The smallest table that a shim may have: only the required slots. */
static int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (foreign == NULL) return -22;
  *loop = (onloop_loop*)foreign;
  return guest->on_ready == NULL ? -22 : 0;
}
static void detach(onloop_loop* loop) {
  (void)loop;
}
static int watch_add(onloop_loop* loop, int fd, uint32_t interest, void* watch_context, onloop_watch** watch) {
  (void)loop, (void)interest, (void)watch_context;
  *watch = NULL;
  return fd < 0 ? -9 : 0;
}
static int watch_set(onloop_loop* loop, onloop_watch* watch, uint32_t interest) {
  (void)loop, (void)watch;
  return interest == (ONLOOP_READ | ONLOOP_WRITE) ? 0 : -22;
}
static void watch_remove(onloop_loop* loop, onloop_watch* watch) {
  (void)loop, (void)watch;
}

extern const onloop_ops onloop_smallest_ops;
const onloop_ops onloop_smallest_ops = {
    .version = ONLOOP_OPS_VERSION,
    .struct_size = sizeof(onloop_ops),
    .name = "smallest",
    .attach = attach,
    .detach = detach,
    .watch_add = watch_add,
    .watch_set = watch_set,
    .watch_remove = watch_remove,
};
