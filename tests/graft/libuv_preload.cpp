// For LD_PRELOAD into a program on libuv: an echo service on the loop that its main thread runs.

#include <dlfcn.h>
#include <unistd.h>
#include <uv.h>
#include <onloop/libuv.hpp>

#include <utility>

#include "guest.hpp"

namespace {

/// The function of the same name that the program would have called without us.
template <class F>
F* next(F*, const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

// Of the main thread. The guest goes before its loop, or else stays: exit() may come on any thread.
bool invited;
uv_loop_t* host;
graft::Guest* guest;

}  // namespace

extern "C" {

int uv_run(uv_loop_t* loop, uv_run_mode mode) {
  static const auto real = next(uv_run, "uv_run");
  if (gettid() == getpid() && !invited) {
    invited = true;
    host = loop;
    guest = graft::invite(onloop::libuv(loop)).release();
  }
  return real(loop, mode);
}

/// A loop that still has handles is busy. Programs that close theirs with handles about run it again, which is when
/// the guest's go.
int uv_loop_close(uv_loop_t* loop) {
  static const auto real = next(uv_loop_close, "uv_loop_close");
  if (loop == host) delete std::exchange(guest, nullptr);
  return real(loop);
}
}
