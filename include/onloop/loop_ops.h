/** @file
 * The contract between onloop and an event loop, in plain C.
 *
 * A shim adapts one kind of loop. It does so by filling in an onloop_ops table. In this file "the core" is onloop,
 * which calls the slots of the table; "the host" is the loop that the shim adapts. The words MUST, MUST NOT and MAY
 * are used as in RFC 2119.
 *
 * A shim links nothing of onloop. The types onloop_loop and onloop_watch belong to the shim: this file never defines
 * them, and the shim casts its own types to them. A structure grows only at its end. A slot that lies beyond
 * struct_size is absent, and so is a null slot. In C++, begin with `onloop_ops ops{}` in a constexpr function and then
 * assign the slots. GCC warns of designated initialisers that leave slots out.
 *
 * @par How the core uses a loop
 * - Under aggregate hosting, which is the default on an application's loop, a context has one watch in the loop. The
 *   watch is for READ and lasts from the beginning of the context to its end. The core sets no deadline. For this the
 *   required slots are enough.
 *   The watch is of an epoll set. An epoll set is not a socket and has no O_NONBLOCK. If epoll sets are nested too
 *   deep, the kernel refuses to add it with ELOOP, and watch_add MUST return -ELOOP.
 * - Under direct hosting each descriptor of the context is a watch. The core uses deadline_set if it is present.
 * - Under both hostings the core uses the other optional slots if they are present.
 *
 * @par What holds for every slot
 * - Thread: the core calls every slot on the loop's thread. No slot needs to be thread-safe. To wake its loop from
 *   another thread, the core writes to an eventfd that it watches.
 * - Up-calls: a slot MUST NOT make an up-call before it returns. The exceptions are run and turn.
 * - Failure: a slot that fails MUST return a negative errno and MUST have changed nothing. It MUST NOT let an exception
 *   out. The core lets no exception out of an up-call.
 * - Calls during an up-call: the core MAY call any slot, also detach. After an up-call has returned, the shim MUST
 *   touch nothing but its own stack until it knows that detach was not called meanwhile. */
#ifndef ONLOOP_LOOP_OPS_H
#define ONLOOP_LOOP_OPS_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define ONLOOP_OPS_MAJOR 1u /**< the core refuses another major version and says why */
/** The version of this contract: the major version in the upper 16 bits, the minor version in the lower 16. */
#define ONLOOP_OPS_VERSION (ONLOOP_OPS_MAJOR << 16 | 1u)

/** @name Interest and readiness are sets of these bits.
 * @{ */
#define ONLOOP_NONE 0u  /**< the empty set */
#define ONLOOP_READ 1u  /**< the descriptor can be read without blocking */
#define ONLOOP_WRITE 2u /**< the descriptor can be written without blocking */
/** Since 1.1: what poll(2) reports as POLLPRI. If the host has no such event, watch_add and watch_set MUST return
 * -EINVAL for an interest with this bit. The core never passes this bit to a shim of version 1.0. In every version,
 * out-of-band data alone MUST NOT make ONLOOP_READ ready. */
#define ONLOOP_PRIORITY 4u
/** Since 1.1, reserved: an error of the descriptor. This bit is for readiness only, and the core never asks for it. A
 * shim MAY leave it out, since an error makes every requested bit ready anyway. The core ignores it. */
#define ONLOOP_ERROR 8u
/** @} */
#define ONLOOP_NO_DEADLINE UINT64_MAX /**< for deadline_set: there is no deadline */

typedef struct onloop_loop onloop_loop;   /**< one attachment to a loop; the shim owns it */
typedef struct onloop_watch onloop_watch; /**< one registered descriptor; the shim owns it and its memory */

/** The up-calls: the functions of the core that a shim calls. attach MUST copy this structure, as far as struct_size
 * goes. A shim MAY make spurious calls, and the core tolerates them. The conformance kit is stricter: it asks for no
 * spurious call and no early deadline. A shim MUST NOT lose a call. */
typedef struct onloop_guest {
  uint32_t version, /**< ONLOOP_OPS_VERSION of the core */
      struct_size;  /**< sizeof(onloop_guest) in the core */
  void* context;    /**< what on_deadline takes; it belongs to the core */
  /** The watch is ready. Readiness is level-triggered: the shim MUST call this again and again for as long as the
   * descriptor is ready and the interest stands. It MAY leave out iterations, so that other sources get their turn.
   * readiness MUST have all bits of the current interest that are ready. Apart from the reserved ONLOOP_ERROR it MUST
   * NOT have a bit that is not in the interest. An error or a hang-up makes every requested bit ready; for example, a
   * pipe whose writer has gone is readable. If no bit is requested, the shim MUST NOT call this. */
  void (*on_ready)(void* watch_context, uint32_t readiness);
  /** The deadline has passed. The shim MUST disarm the deadline before this call. */
  void (*on_deadline)(void* context);
} onloop_guest;

/** The table of one kind of loop, which a shim fills in: the slots that the core calls. */
typedef struct onloop_ops {
  uint32_t version, /**< ONLOOP_OPS_VERSION */
      struct_size;  /**< sizeof(onloop_ops) */
  const char* name; /**< for people, such as "native" or "glib"; MUST live as long as the table */

  /** @name Required
   * @{ */
  /** Attaches to a loop and puts the attachment in `*loop`.
   *
   * If foreign is not null, it is the application's loop. It outlives the attachment. The shim MUST NOT run, stop or
   * free it. If foreign is null, the shim MUST make a new loop, which it owns. The shim MUST return -EINVAL if it can't
   * own a loop, and also if it can't use a foreign loop. attach MUST NOT bind the loop to the thread: a context may be
   * made on one thread and run on another. */
  int (*attach)(const onloop_guest* guest, void* foreign, onloop_loop** loop);
  /** Takes back everything that attach did. The core has removed all watches before. After this call the shim MUST NOT
   * make an up-call. The shim MUST free an owned loop. If run, turn or an up-call of the loop is on the stack, the
   * outermost of these frames MUST free the loop, and run and turn MUST then return. */
  void (*detach)(onloop_loop* loop);
  /** Watches fd. The core keeps the ownership of fd; fd is open and in no other watch of this loop. interest MAY be
   * ONLOOP_NONE. The shim MUST pass watch_context to on_ready. If the host changes something on the descriptor, the
   * shim MUST restore it. If an up-call adds a watch, the shim MUST NOT call the watch before a later iteration. The
   * shim MUST return -EINVAL if the host does not know the interest, and -EPERM if the host can't wait for this kind of
   * descriptor. A host MAY accept a descriptor that is always ready, such as a regular file. */
  int (*watch_add)(onloop_loop* loop, int fd, uint32_t interest, void* watch_context, onloop_watch** watch);
  /** Sets the interest. It is absolute, not a change to the former interest. The shim MUST return -EINVAL if the host
   * does not know the interest. ONLOOP_NONE means silence: the watch MUST cause no call and no iteration, even on a
   * hang-up. Lowering an interest MUST NOT fail. */
  int (*watch_set)(onloop_loop* loop, onloop_watch* watch, uint32_t interest);
  /** Removes a watch. This call is final and MUST NOT fail. After it the shim MUST NOT make a call for this watch, even
   * if its event is already fetched and its descriptor number is used again at once. fd is still open. It MAY be
   * closed as soon as this returns. There is one exception: the application may have closed a descriptor although it
   * was watched. Then the number belongs to no file, or to another file. The shim MUST survive that. A later watch_add
   * of the same number MUST watch the file that has the number then. */
  void (*watch_remove)(onloop_loop* loop, onloop_watch* watch);
  /** @} */

  /** @name Optional: if a slot is absent or returns -ENOSYS, the core does without it
   * @{ */
  /** Sets the one deadline, in nanoseconds of CLOCK_MONOTONIC; ONLOOP_NO_DEADLINE means none. A deadline MUST fire
   * once. It MUST NOT fire early by rounding. A deadline in the past MUST fire on a later iteration, after the host has
   * polled for I/O. If this slot is absent, the core watches a timerfd. */
  int (*deadline_set)(onloop_loop* loop, uint64_t at_ns);
  /** Sets the priority of everything that the guest has in the host and will have there. The priority is in the host's
   * own terms. The shim MUST return -EINVAL if the host has no such priority. */
  int (*priority_set)(onloop_loop* loop, int priority);
  /** Sets whether the guest's watches keep the host's own run call from returning. At attach this MUST be on. */
  int (*keepalive)(onloop_loop* loop, int on);
  /** run runs an owned loop until stop. It MUST return 0, or a negative errno that says why it could not run. After
   * stop, run MUST return when the current up-call or batch has ended. */
  int (*run)(onloop_loop* loop);
  /** Makes run return, as run says. */
  void (*stop)(onloop_loop* loop);
  /** Makes one iteration of an owned loop. It MUST wait for at most max_wait_ns. A negative value means no limit, and 0
   * means that it MUST NOT block. After EINTR it MUST wait again for the time that is left. Then it MUST make the
   * up-calls of one batch, on_deadline first, and return 0. The core prefers turn to run, since turn tells it where a
   * batch ends. A shim MAY refuse a turn inside a turn by -EBUSY. */
  int (*turn)(onloop_loop* loop, int64_t max_wait_ns);
  /** Gives up the loop in the child after a fork. From this call on the loop belongs to the parent. The core then calls
   * watch_remove for each watch, and detach. These calls MUST free what belongs to the process alone, and MUST NOT make
   * a kernel call that the parent could notice. If this slot is absent, the core leaks the attachment instead. */
  void (*abandon)(onloop_loop* loop);
  /** Returns a descriptor by which the loop can be nested in another loop. The descriptor MUST be readable whenever
   * turn(loop, 0) has an I/O event to report. Deadlines do not count: the core then watches a timerfd. The loop owns
   * the descriptor; the core MUST NOT close it. */
  int (*fd)(onloop_loop* loop);
  /** @} */
} onloop_ops;

/** A shim that can be loaded at run time is a shared library libonloop-NAME.so. The library MUST define its table under
 * the name onloop_shim_NAME, as `const onloop_ops ONLOOP_SHIM(NAME) = {...}` with C linkage. A '-' in NAME is a '_' in
 * this symbol. */
#define ONLOOP_SHIM(name) onloop_shim_##name

#ifdef __cplusplus
}
#endif
#endif
