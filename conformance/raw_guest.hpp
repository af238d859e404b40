#pragma once
#include <onloop/loop_ops.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>

#include <onloop/conformance.hpp>
#include "conformance/descriptors.hpp"

namespace onloop::conformance {

std::uint64_t monotonic_ns();

/// A guest that is not the core: attaches a loop's bare ops, records the up-calls, and fails the test at once for each
/// that the contract forbids: within a slot, after a removal or detach, for a direction that is not requested.
class RawGuest {
 public:
  struct Watch {
    RawGuest& guest;
    int fd;
    std::uint32_t interest;
    std::function<void(std::uint32_t readiness)> on_ready;
    onloop_watch* handle = nullptr;  // null once removed
    int calls = 0;
    std::uint32_t readiness = 0;  // of all calls together; tests clear it
  };

  explicit RawGuest(Provider& provider);
  RawGuest(const RawGuest&) = delete;
  RawGuest& operator=(const RawGuest&) = delete;
  ~RawGuest();

  Watch& add(int fd, std::uint32_t interest, std::function<void(std::uint32_t)> on_ready = {});
  void set(Watch& watch, std::uint32_t interest);
  /// What watch_add and watch_set give, which may be an error here; what was added is removed again.
  [[nodiscard]] int try_add(int fd, std::uint32_t interest);
  [[nodiscard]] int try_set(Watch& watch, std::uint32_t interest);
  void remove(Watch& watch);
  /// Sets the deadline, `delay` from now; negative is past. Nothing, if the loop has no deadlines.
  void deadline_in(std::chrono::nanoseconds delay);
  void deadline_at(std::uint64_t at);
  /// Removes what is watched and detaches; legal in an up-call.
  void detach();

  /// One iteration of the loop.
  void turn(std::chrono::nanoseconds max_wait = 0ns);
  /// Turns that wait, until `done`; false after `limit`.
  [[nodiscard]] bool until(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s);
  /// Expects that so many turns without waiting bring no call.
  void expect_silence(int turns = 12);
  /// Expects that the loop sleeps, when asked to wait: no calls, no turns to speak of, no processor time.
  void expect_sleep(std::chrono::milliseconds time = 60ms);

  [[nodiscard]] const onloop_ops& ops() const { return loop_of_provider_.ops(); }
  [[nodiscard]] bool attached() const { return loop_ != nullptr; }

  std::function<void()> on_deadline;
  int calls = 0;      // up-calls of both kinds
  int deadlines = 0;  // on_deadline calls
  std::uint64_t deadline = ONLOOP_NO_DEADLINE;

 private:
  static void ready_call(void* watch, std::uint32_t readiness);
  static void deadline_call(void* guest);
  void called();
  template <class F>
  auto slot(F call);  // notes that a slot is on the stack

  Provider& provider_;
  Loop loop_of_provider_;
  onloop_loop* loop_ = nullptr;
  std::list<Watch> watches_;  // removed ones stay, so that a late call is found
  int slots_ = 0;
  Descriptor pulse_;  // ends a run() of a loop that has no turn
  Watch* pulse_watch_ = nullptr;
};

}  // namespace onloop::conformance
