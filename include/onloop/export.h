/** @file
 * What a shared library of onloop exports. */
#ifndef ONLOOP_EXPORT_H
#define ONLOOP_EXPORT_H

#if defined(__cplusplus) && __cplusplus < 202002L
#error "onloop needs C++20: compile with -std=c++20 or later"
#endif

/** @def ONLOOP_API
 * Marks what the library and its shims export. Everything else in them is hidden, if they are shared libraries. */
#ifdef __cplusplus
#define ONLOOP_API [[gnu::visibility("default")]]
#else
#define ONLOOP_API __attribute__((visibility("default")))
#endif

#endif
