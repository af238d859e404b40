#pragma once
#include <onloop/loop_ops.h>

#include <cstdint>

namespace onloop::detail {

class Runtime;
class Source;

/// What a loop calls of a context. These functions are entered from C and left without an exception.
///
/// While Runtime drives the loop itself, an up-call only collects what is ready, and the turn is served when the loop's
/// `turn` slot has returned. An up-call of a loop that somebody else drives is served at once, as a turn of its own.
class Upcalls {
 public:
  /// For the loop that watches the sources.
  [[nodiscard]] static onloop_guest guest(Runtime& runtime) noexcept;
  /// For the loop around a native set, under aggregate hosting.
  [[nodiscard]] static onloop_guest set_guest(Runtime& runtime) noexcept;

 private:
  static void on_ready(void* source, std::uint32_t readiness);
  static void on_deadline(void* runtime);
  static void on_set_ready(void* runtime, std::uint32_t readiness);
  [[gnu::noinline]] static void on_ready_rare(Source& source, std::uint32_t readiness);
};

}  // namespace onloop::detail
