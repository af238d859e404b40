/* The functions between the C part and the C++ part of echo_on_own_poll_loop_in_c. */
#ifndef ECHO_ON_OWN_POLL_LOOP_H
#define ECHO_ON_OWN_POLL_LOOP_H
#include <onloop/loop_ops.h>
#ifdef __cplusplus
extern "C" {
#endif

struct echo_service;

/* Starts the service on the loop `foreign` and prints where it listens. Returns null if it can't, and prints the
 * reason. */
struct echo_service* echo_service_start(const onloop_ops* ops, void* foreign, const char* address);
/* Closes every socket and leaves the loop as it was. */
void echo_service_stop(struct echo_service* service);

#ifdef __cplusplus
}
#endif
#endif
