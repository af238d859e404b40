#pragma once
// How the move-only handles (Timer, Watch, Signal, Process) let go of what they stand for; not for applications.
#include <onloop/export.h>

#include <memory>

/// @cond
namespace onloop::detail {

class Child;
class RawWatch;
class SignalEntry;
class TimerEntry;

/// Cancels the object and gives up the handle's share of its memory.
struct ONLOOP_API Retire {
  void operator()(Child* child) const noexcept;
  void operator()(RawWatch* watch) const noexcept;
  void operator()(SignalEntry* entry) const noexcept;
  void operator()(TimerEntry* entry) const noexcept;
};

template <class T>
using HandleTo = std::unique_ptr<T, Retire>;

}  // namespace onloop::detail
/// @endcond
