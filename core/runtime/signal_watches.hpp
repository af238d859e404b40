#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace onloop::detail {

class Runtime;
class SignalEntry;

/// The signal watches of one context, in the order in which they were set. It knows which of them are to be called.
///
/// The user's Signal handles own the entries. The Turn owns this list. Thread: the context's.
class SignalWatches {
 public:
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  void add(SignalEntry& entry) { entries_.push_back(&entry); }
  void remove(SignalEntry& entry) noexcept;
  /// Ends all watches, because the context is destroyed.
  void sever() noexcept;

  /// Notes which signals came. For signal n, bit n - 1 of `came` is set.
  void note(std::uint64_t came) noexcept;
  /// Installs our signal handlers again where other code has replaced them.
  void look_after_handlers() const noexcept;
  /// True if a watch is to be called.
  [[nodiscard]] bool due() const noexcept { return due_; }
  /// Calls each watch whose signal came. If the budget of the turn is spent before the last of them, the next serve()
  /// goes on after the watch that was called last. A watch that was not called because of an exception or a move stays
  /// due.
  void serve(Runtime& runtime);

 private:
  void end_serving() noexcept;

  std::vector<SignalEntry*> entries_;  // an entry that is removed while serve() runs is null until serve() ends
  std::size_t next_ = 0;               // the index at which serve() begins
  unsigned serving_ = 0;               // the number of frames that are in serve()
  bool due_ = false;                   // at least one entry is due
};

}  // namespace onloop::detail
