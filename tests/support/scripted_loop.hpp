#pragma once
#include <onloop/loop.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace onloop::test {

struct Script;

namespace detail {
struct Attachment;

/// Gives a Script an ops table of its own and keeps its attachments, also dead ones, so that a late call is recognised.
class ScriptHost {
 public:
  ScriptHost() noexcept;
  ~ScriptHost();
  ScriptHost(const ScriptHost&) = delete;
  ScriptHost& operator=(const ScriptHost&) = delete;

 private:
  friend struct onloop::test::Script;
  friend struct Attachment;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};
}  // namespace detail

/// A loop on poll(2) that does everything that the contract of loop_ops.h allows and that a friendly loop would not do:
/// random order, spurious readiness, deadlines that come early or late, slots that are missing, a slot call that fails.
/// It also holds the core to its side of the contract: the process ends with words if a descriptor is watched twice,
/// was closed or replaced while watched, if a watch or an attachment is used after its end, if watches are left at
/// detach, if a slot is called from another thread than the one that iterates, or if an up-call throws.
///
///     Script script{.seed = 7, .spurious = true};
///     Context context{script.loop()};
///
/// It must outlive the contexts on it. Each owned loop made from it is separate and may run on a thread of its own.
/// The environment variable ONLOOP_SEED replaces every seed; a test that fails prints the seeds in use.
struct Script {
  std::uint64_t seed = 1;
  bool shuffle = true;           ///< the up-calls of a turn in random order, as far as the contract leaves it open
  bool spurious = false;         ///< now and then readiness that is not there, in directions that were asked for
  bool early_deadlines = false;  ///< on_deadline up to 2 ms early
  bool late_deadlines = false;   ///< on_deadline up to 3 turns late
  std::size_t batch = SIZE_MAX;  ///< watches served in a turn; 1 is like sd-event
  int fail_at_call = -1;   ///< this fallible slot call fails, once; from 0; attach, watch_add, raising, deadline_set
  int fail_with = ENOMEM;  ///< an errno, positive
  bool fail_lowering = false;  ///< watch_set fails when it takes an interest away, which no known loop does
  bool with_deadline_slot = true;
  bool with_keepalive_slot = true;
  bool with_turn_slot = true;  ///< else only run and stop

  std::atomic<int> slot_calls{0};      ///< all but run, stop and turn
  std::atomic<int> fallible_calls{0};  ///< those that fail_at_call counts
  std::atomic<int> failures{0};        ///< calls that were made to fail
  std::atomic<int> attached{0};        ///< attachments now
  std::atomic<int> live_watches{0};    ///< watches now, those without interest included
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> up_calls{0};

  detail::ScriptHost host{};

  /// A loop that is made and owned by the shim.
  [[nodiscard]] Loop loop();
  /// This object as the application's own loop, driven by run_once; direct hosting.
  [[nodiscard]] Loop foreign();
  /// The application's side: one iteration for all that is attached to foreign(). Negative: no limit. May be nested.
  void run_once(std::chrono::nanoseconds max_wait);
  /// Whether anything attached to foreign() keeps a run call of the application's from returning.
  [[nodiscard]] bool kept_alive() const;
};

/// The same as script.loop().
[[nodiscard]] inline Loop scripted(Script& script) {
  return script.loop();
}

}  // namespace onloop::test
