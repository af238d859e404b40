#pragma once
#include "core/runtime/host.hpp"

namespace onloop::detail {

/// The loop around a context's native set, under aggregate hosting: all that it watches is the set's descriptor.
class Outer {
 public:
  /// Attaches and watches `set`; `guest.on_ready` is called with `guest.context` when the set has events. Throws
  /// std::system_error, and then nothing stays in the loop.
  Outer(const Loop& loop, const onloop_guest& guest, int set);
  Outer(const Outer&) = delete;
  Outer& operator=(const Outer&) = delete;
  ~Outer() { host_.watch_remove(watch_); }

  [[nodiscard]] Host& host() noexcept { return host_; }

 private:
  Host host_;
  onloop_watch* watch_ = nullptr;
};

}  // namespace onloop::detail
