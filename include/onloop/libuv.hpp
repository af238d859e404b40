#pragma once
#include <onloop/export.h>
#include <onloop/loop.hpp>

extern "C" {
struct uv_loop_s;  // uv_loop_t of <uv.h>
ONLOOP_API extern const onloop_ops onloop_shim_libuv;
}

namespace onloop {

/// A libuv loop of onloop's own, which Context::run() iterates.
[[nodiscard]] ONLOOP_API Loop libuv() noexcept;
/// The application's own loop: uv_default_loop(), or another one. Whoever calls uv_run() on it serves the onloop
/// context. Null is refused (EINVAL). After the onloop context is destroyed, which may be in any callback, its handles
/// are closing and gone after the loop's next turn: uv_loop_close() then returns 0.
/// So destroy it before whoever owns the loop closes all handles that uv_walk() finds.
/// Context::set_keepalive(false) lets uv_run() return though the context is there. libuv has no priorities, and its
/// loop can't be run inside a callback of its own. A forked child calls uv_loop_fork() before Context::after_fork()
/// onto its copy of the loop; it may destroy the context before or after.
[[nodiscard]] ONLOOP_API Loop libuv(uv_loop_s* loop);

}  // namespace onloop
