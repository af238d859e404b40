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

/// Gives a Script an ops table of its own and keeps its attachments. Dead attachments are kept, too, so that a late
/// call is noticed.
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

/// A loop on poll(2) for tests. It does everything that the contract of loop_ops.h allows and that a friendly loop
/// would not do: random order, spurious readiness, early and late deadlines, missing slots, a slot call that fails.
///
/// It also checks that the core keeps its side of the contract. The process aborts with a message
///
/// - if a descriptor is watched twice, or was closed or replaced while it is watched,
/// - if a watch or an attachment is used after its end,
/// - if watches are left at detach,
/// - if a slot is called on another thread than the thread that iterates, or
/// - if an up-call throws.
///
///     Script script{.seed = 7, .spurious = true};
///     Context context{script.loop()};
///
/// A script must outlive the contexts on it. Each owned loop made from a script is separate and may run on a thread of
/// its own. The environment variable ONLOOP_SEED replaces every seed. A test that fails prints the seeds in use.
struct Script {
  std::uint64_t seed = 1;
  bool shuffle = true;           ///< the up-calls of a turn come in random order, where the contract allows any
  bool spurious = false;         ///< sometimes reports readiness that is not there, in directions of the interest
  bool early_deadlines = false;  ///< on_deadline comes up to 2 ms early
  bool late_deadlines = false;   ///< on_deadline comes up to 3 turns late
  std::size_t batch = SIZE_MAX;  ///< the most watches served in a turn; 1 is like sd-event
  int fail_at_call = -1;         ///< the number of the fallible call that fails, from 0; see fallible_calls
  int fail_with = ENOMEM;        ///< the positive errno of such a failure
  bool fail_lowering = false;    ///< watch_set fails if it takes an interest away; no known loop fails so
  bool with_deadline_slot = true;
  bool with_keepalive_slot = true;
  bool with_turn_slot = true;  ///< if false, the table has only run and stop

  std::atomic<int> slot_calls{0};      ///< calls of all slots except run, stop and turn
  std::atomic<int> fallible_calls{0};  ///< calls of attach, watch_add, watch_set that adds interest, deadline_set
  std::atomic<int> failures{0};        ///< calls that were made to fail
  std::atomic<int> attached{0};        ///< attachments that exist now
  std::atomic<int> live_watches{0};    ///< watches that exist now, including those without interest
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> up_calls{0};

  detail::ScriptHost host{};

  /// An owned loop, which the shim makes and owns.
  [[nodiscard]] Loop loop();
  /// This object as a foreign loop, which the application drives by run_once(). It has direct hosting.
  [[nodiscard]] Loop foreign();
  /// Runs one iteration for everything that is attached to foreign(), as the application does. A negative `max_wait`
  /// means no limit. Calls may be nested.
  void run_once(std::chrono::nanoseconds max_wait);
  /// True if anything that is attached to foreign() would keep a run call of the application from returning.
  [[nodiscard]] bool kept_alive() const;
};

/// The same as script.loop().
[[nodiscard]] inline Loop scripted(Script& script) {
  return script.loop();
}

}  // namespace onloop::test
