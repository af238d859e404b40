/* Between the C and the C++ of echo_on_own_poll_loop_in_c. */
#ifndef ECHO_ON_OWN_POLL_LOOP_H
#define ECHO_ON_OWN_POLL_LOOP_H
#include <onloop/loop_ops.h>
#ifdef __cplusplus
extern "C" {
#endif

struct echo_service;

/* Starts on the loop `foreign` and says where it listens. Null: it could not, and has said why. */
struct echo_service* echo_service_start(const onloop_ops* ops, void* foreign, const char* address);
/* Closes every socket and leaves the loop as it was. */
void echo_service_stop(struct echo_service* service);

#ifdef __cplusplus
}
#endif
#endif
