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

/// A guest without the core. It attaches to the bare ops of a loop and records the up-calls. It fails the test at once
/// if the contract forbids an up-call: within a slot, after a removal or after detach, or for a direction that is not
/// requested.
class RawGuest {
 public:
  struct Watch {
    RawGuest& guest;
    int fd;
    std::uint32_t interest;
    std::function<void(std::uint32_t readiness)> on_ready;
    onloop_watch* handle = nullptr;  // null after the removal
    int calls = 0;
    std::uint32_t readiness = 0;  // the bits of all calls together; tests clear it
  };

  explicit RawGuest(Provider& provider);
  RawGuest(const RawGuest&) = delete;
  RawGuest& operator=(const RawGuest&) = delete;
  ~RawGuest();

  Watch& add(int fd, std::uint32_t interest, std::function<void(std::uint32_t)> on_ready = {});
  void set(Watch& watch, std::uint32_t interest);
  /// Calls watch_add. If it succeeds, the watch is removed again.
  ///
  /// @return The result of watch_add, which may be an error.
  [[nodiscard]] int try_add(int fd, std::uint32_t interest);
  /// @return The result of watch_set, which may be an error.
  [[nodiscard]] int try_set(Watch& watch, std::uint32_t interest);
  void remove(Watch& watch);
  /// Sets the deadline to `delay` from now. A negative delay is in the past. Does nothing if the loop has no deadlines.
  void deadline_in(std::chrono::nanoseconds delay);
  void deadline_at(std::uint64_t at);
  /// Removes all watches and detaches. An up-call may call it.
  void detach();

  /// Makes one iteration of the loop.
  void turn(std::chrono::nanoseconds max_wait = 0ns);
  /// Makes turns that wait until `done` returns true.
  ///
  /// @return False if `limit` passed first.
  [[nodiscard]] bool until(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s);
  /// Expects that `turns` turns without waiting bring no call.
  void expect_silence(int turns = 12);
  /// Expects that the loop sleeps when it is asked to wait: no calls, hardly any turns, hardly any processor time.
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
  auto slot(F call);  // calls a slot and notes meanwhile that a slot is on the stack

  Provider& provider_;
  Loop loop_of_provider_;
  onloop_loop* loop_ = nullptr;
  std::list<Watch> watches_;  // removed watches stay here, so that a late call is found
  int slots_ = 0;
  Descriptor pulse_;  // a timerfd that ends run() on a loop without turn
  Watch* pulse_watch_ = nullptr;
};

}  // namespace onloop::conformance
