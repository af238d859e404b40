#pragma once
// The deleter of the move-only handles (Timer, Watch, Signal, Process). Applications must not use this file.
#include <onloop/export.h>

#include <memory>

/// @cond
namespace onloop::detail {

class Child;
class RawWatch;
class SignalEntry;
class TimerEntry;

/// The deleter: cancels the object behind a handle, and gives up the handle's share of its memory. A Child is the one
/// exception: its process goes on, and only its on_exit is not called any more.
struct ONLOOP_API Retire {
  void operator()(Child* child) const noexcept;
  void operator()(RawWatch* watch) const noexcept;
  void operator()(SignalEntry* entry) const noexcept;
  void operator()(TimerEntry* entry) const noexcept;
};

/// The pointer that a handle holds to the object behind it.
template <class T>
using HandleTo = std::unique_ptr<T, Retire>;

}  // namespace onloop::detail
/// @endcond
