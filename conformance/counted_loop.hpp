#pragma once
#include <onloop/loop.hpp>

namespace onloop::conformance {

/// Stands in front of another loop's ops: counts the slot calls and what is attached, and lets one of them fail. One at
/// a time; it must outlive the contexts on it.
class CountedLoop {
 public:
  explicit CountedLoop(const Loop& loop);
  CountedLoop(const CountedLoop&) = delete;
  CountedLoop& operator=(const CountedLoop&) = delete;
  ~CountedLoop();

  /// The other loop, behind this.
  [[nodiscard]] Loop loop() const;
  /// The slot call that may fail and is the `call`-th from now, from 0, fails with ENOMEM, once; negative: none.
  void fail_at(int call);

  int calls = 0;     ///< slot calls, but for those that run the loop
  int adds = 0;      ///< of watch_add
  int attached = 0;  ///< attachments now
  int watches = 0;   ///< watches now
  int failures = 0;  ///< calls that were made to fail

 private:
  struct Slots;
  const Loop behind_;
  int until_failure_ = -1;
};

}  // namespace onloop::conformance
