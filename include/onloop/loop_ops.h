/* The contract between onloop and an event loop, in plain C.
 *
 * A shim adapts one kind of loop by filling in an onloop_ops table. It links nothing of onloop; onloop_loop and
 * onloop_watch are its own types, never defined here, only cast to. Structures grow at the end only: a slot that lies
 * beyond struct_size is absent, and so is a null one. In C++, begin with `onloop_ops ops{}` in a constexpr function: of
 * designated initialisers that leave slots out GCC warns.
 *
 * How it is used
 * - Under aggregate hosting, the default on an application's loop, a context has one watch there, for READ, from its
 *   beginning to its end, and no deadline: the required slots are all that it takes.
 *   That watch is of an epoll set: no socket, without O_NONBLOCK; where sets nest too deep, watch_add gives -ELOOP.
 * - Under direct hosting each descriptor of the context is a watch, and deadline_set is used if it is there.
 * - Either way the other optional slots are used where they are.
 *
 * What holds for every slot
 * - Thread: the loop's. No slot is thread-safe; the core wakes its loop by an eventfd that it watches.
 * - Up-calls: no slot but run and turn makes one before it returns.
 * - Failure: a negative errno, and then nothing has changed. No exception leaves a slot, or an up-call.
 * - During any up-call the core may call any slot, detach included. After an up-call has returned, a shim touches
 *   nothing but its own stack until it knows that detach did not come meanwhile. */
#ifndef ONLOOP_LOOP_OPS_H
#define ONLOOP_LOOP_OPS_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define ONLOOP_OPS_MAJOR 1u /* another major version is refused with a reason */
#define ONLOOP_OPS_VERSION (ONLOOP_OPS_MAJOR << 16 | 1u)

/* Interest and readiness are sets of these bits. */
#define ONLOOP_NONE 0u
#define ONLOOP_READ 1u
#define ONLOOP_WRITE 2u
/* Since 1.1: what poll(2) reports as POLLPRI. watch_add and watch_set of a shim whose host has no such thing return
 * -EINVAL for an interest with this bit. The core never passes it to a shim of version 1.0. */
#define ONLOOP_PRIORITY 4u
/* Since 1.1, reserved: an error of the descriptor. Readiness only; the core never asks for it. A shim need not report
 * it, since an error makes every requested bit ready anyway, and the core ignores it. */
#define ONLOOP_ERROR 8u
#define ONLOOP_NO_DEADLINE UINT64_MAX

typedef struct onloop_loop onloop_loop;   /* one attachment to a loop; the shim's */
typedef struct onloop_watch onloop_watch; /* one descriptor registered with it; the shim's, memory included */

/* Up-calls: what a shim calls. Copied by attach, as far as struct_size goes. Spurious calls are allowed, lost ones are
 * not. */
typedef struct onloop_guest {
  uint32_t version, struct_size;
  void* context;
  /* The watch is ready. Level-triggered: called again on each iteration for as long as the descriptor is ready and the
   * interest stands. readiness: the bits of the interest that are ready; an error or a hang-up makes every requested
   * bit ready (a pipe whose writer has gone is readable). No requested bit, no call. */
  void (*on_ready)(void* watch_context, uint32_t readiness);
  /* The deadline has passed. It was disarmed before this call. */
  void (*on_deadline)(void* context);
} onloop_guest;

typedef struct onloop_ops {
  uint32_t version, struct_size; /* ONLOOP_OPS_VERSION, sizeof(onloop_ops) */
  const char* name;              /* for people: "native", "glib"; lives as long as the table */

  /* ---- required ---- */
  /* Attaches to foreign, the application's loop, which outlives the attachment and is never run, stopped or freed; or,
   * if it is null, to a new loop that the shim owns. -EINVAL if the shim can't own one. Puts the attachment in *loop.
   * Does not bind the thread: a context may be made on one and run on another.
   */
  int (*attach)(const onloop_guest* guest, void* foreign, onloop_loop** loop);
  /* Takes back all that attach did; all watches were removed before. No up-call comes after it. An owned loop is freed,
   * by the outermost of its frames if run, turn or an up-call is on the stack; run and turn then return. */
  void (*detach)(onloop_loop* loop);
  /* Watches fd, which stays the core's, is open and in no other watch of this loop. interest may be ONLOOP_NONE.
   * watch_context comes back in on_ready. What the host changes on the descriptor, the shim restores. -EPERM: a kind of
   * descriptor that can't be waited for. -EINVAL: the host knows no such interest. */
  int (*watch_add)(onloop_loop* loop, int fd, uint32_t interest, void* watch_context, onloop_watch** watch);
  /* Sets the interest; absolute, not a delta. -EINVAL: the host knows no such interest. ONLOOP_NONE is silence: no call
   * and no iteration, even on a hang-up. Lowering never fails. */
  int (*watch_set)(onloop_loop* loop, onloop_watch* watch, uint32_t interest);
  /* Final and infallible: no call for this watch comes after it, even if its event is already fetched and its number is
   * used again at once. fd is still open, and may be closed as soon as this returns. The exception is a descriptor that
   * the application has closed although it was watched: then the number is of no file, or of another one. The shim MUST
   * survive that, and a watch_add of the same number afterwards MUST watch the file that has it then. */
  void (*watch_remove)(onloop_loop* loop, onloop_watch* watch);

  /* ---- optional: if absent, or if it returns -ENOSYS, the core does without ---- */
  /* Sets the one deadline: nanoseconds of CLOCK_MONOTONIC, ONLOOP_NO_DEADLINE for none. One-shot, never early by
   * rounding. A past one fires on a later iteration, after the host has polled for I/O. Absent: the core watches a
   * timerfd. */
  int (*deadline_set)(onloop_loop* loop, uint64_t at_ns);
  /* Sets the priority of all that the guest has in the host and will have, in the host's own terms. -EINVAL: there is
   * no such one. */
  int (*priority_set)(onloop_loop* loop, int priority);
  /* Whether the guest's watches keep the host's own run call from returning; on at attach. */
  int (*keepalive)(onloop_loop* loop, int on);
  /* Runs an owned loop until stop; 0, or why it could not. stop: run returns after the up-call or batch in hand. */
  int (*run)(onloop_loop* loop);
  void (*stop)(onloop_loop* loop);
  /* One iteration of an owned loop: waits for at most max_wait_ns (negative: no limit; 0: does not block), retries
   * EINTR with the time that is left, makes the up-calls of one batch, on_deadline first, and returns 0. The core
   * prefers it to run, since it knows then where a batch ends. A turn inside a turn may be refused: -EBUSY. */
  int (*turn)(onloop_loop* loop, int64_t max_wait_ns);
  /* After fork, in the child: the loop is the parent's from here on. The watch_remove of each watch and detach follow;
   * they free what is the process's own and make no kernel call that the parent could notice. Absent: the attachment
   * is leaked instead. */
  void (*abandon)(onloop_loop* loop);
  /* A descriptor that is readable whenever turn(loop, 0) has an I/O event to report (deadlines left out: the core then
   * watches a timerfd), so that the loop can be nested in another. The loop's: never closed by the caller. */
  int (*fd)(onloop_loop* loop);
} onloop_ops;

/* A shim that can be loaded at run time is a shared library libonloop-NAME.so that defines its table under the name
 * onloop_shim_NAME, as `const onloop_ops ONLOOP_SHIM(NAME) = {...}` with C linkage; a '-' in NAME is a '_' there. */
#define ONLOOP_SHIM(name) onloop_shim_##name

#ifdef __cplusplus
}
#endif
#endif
