#pragma once
/// @file
/// Loops of libuv. A program that includes this header links the shim onloop::libuv.
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
struct uv_loop_s;  // uv_loop_t of <uv.h>
/// The table of this shim. libuv() makes a Loop of it.
ONLOOP_API extern const onloop_ops onloop_shim_libuv;
}

namespace onloop {

/// @return A libuv loop that onloop owns. Context::run() iterates it.
[[nodiscard]] ONLOOP_API Loop libuv() noexcept;
/// A loop of the application: uv_default_loop(), or another one. Any code that calls uv_run() on the loop serves the
/// onloop context.
///
/// The onloop context may be destroyed in any callback. After that its handles are closing, and they are gone after the
/// loop's next turn; uv_loop_close() then returns 0. Destroy the context before the owner of the loop closes all
/// handles that uv_walk() finds.
///
/// While the context exists, uv_run() does not return, even if nothing is left to do. To end it, destroy the context in
/// any callback, or call Context::set_keepalive(false). Context::set_keepalive(false) lets uv_run() return although the
/// context exists and has connections. libuv has no priorities, and its loop can't be run inside one of its own
/// callbacks.
///
/// A forked child must call uv_loop_fork() before it calls Context::after_fork() with its copy of the loop. It may
/// destroy the context before or after uv_loop_fork().
/// @throws std::system_error with EINVAL if `loop` is null.
[[nodiscard]] ONLOOP_API Loop libuv(uv_loop_s* loop);

}  // namespace onloop
