// For LD_PRELOAD into a program on libevent: an echo service on the event_base that its main thread runs.
//
// The shim is compiled in, and this library names no libevent that it needs: all of libevent's functions are those of
// the host, whichever of libevent's libraries that is linked to.

#include <dlfcn.h>
#include <event2/event.h>
#include <unistd.h>
#include <onloop/libevent.hpp>

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
event_base* host;
graft::Guest* guest;

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int event_base_loop(event_base* base, int flags) {
  static const auto real = next(event_base_loop, "event_base_loop");
  if (gettid() == getpid() && !invited) {
    invited = true;
    host = base;
    guest = graft::invite(onloop::libevent(base)).release();
  }
  return real(base, flags);
}

[[gnu::visibility("default")]] void event_base_free(event_base* base) {
  static const auto real = next(event_base_free, "event_base_free");
  if (base == host) delete std::exchange(guest, nullptr);
  real(base);
}
}
