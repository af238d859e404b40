/** @file
 * What a shared library of onloop exports. */
#ifndef ONLOOP_EXPORT_H
#define ONLOOP_EXPORT_H

/** @def ONLOOP_API
 * Marks what the library and its shims export. Everything else in them is hidden, if they are shared libraries. */
#ifdef __cplusplus
#define ONLOOP_API [[gnu::visibility("default")]]
#else
#define ONLOOP_API __attribute__((visibility("default")))
#endif

#endif
