#pragma once
#include <onloop/loop.hpp>

namespace onloop::conformance {

/// Stands in front of the ops of another loop. It counts the slot calls and the attachments, and can make a call fail.
/// Only one may exist at a time. It must outlive the contexts on it.
class CountedLoop {
 public:
  explicit CountedLoop(const Loop& loop);
  CountedLoop(const CountedLoop&) = delete;
  CountedLoop& operator=(const CountedLoop&) = delete;
  ~CountedLoop();

  /// @return The other loop, behind this object.
  [[nodiscard]] Loop loop() const;
  /// Makes one slot call fail with ENOMEM, once. Only slot calls that may fail count. `call` is the number of the call
  /// from now on, beginning with 0. If it is negative, no call fails.
  void fail_at(int call);

  int calls = 0;     ///< slot calls, except those that run the loop
  int adds = 0;      ///< calls of watch_add
  int attached = 0;  ///< current attachments
  int watches = 0;   ///< current watches
  int failures = 0;  ///< calls that were made to fail

 private:
  struct Slots;
  const Loop behind_;
  int until_failure_ = -1;
};

}  // namespace onloop::conformance
