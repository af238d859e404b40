#pragma once
#include <onloop/loop_ops.h>

#include <cstdint>

namespace onloop::detail {

class Runtime;
class Source;

/// The functions of a context that a loop calls. C code calls them, so they never throw.
///
/// While the Runtime drives the loop with the loop's `turn` slot, an up-call only collects what is ready. The Runtime
/// serves the turn when the `turn` slot has returned. Any other up-call is served at once, as a turn of its own.
///
/// Thread: the one on which the loop runs.
class Upcalls {
 public:
  /// The table of up-calls for the loop that watches the sources.
  [[nodiscard]] static onloop_guest guest(Runtime& runtime) noexcept;
  /// The table of up-calls for the host of a native set, under aggregate hosting.
  [[nodiscard]] static onloop_guest set_guest(Runtime& runtime) noexcept;

 private:
  static void on_ready(void* source, std::uint32_t readiness);
  static void on_deadline(void* runtime);
  static void on_set_ready(void* runtime, std::uint32_t readiness);
  [[gnu::noinline]] static void on_ready_rare(Source& source, std::uint32_t readiness);
};

}  // namespace onloop::detail
