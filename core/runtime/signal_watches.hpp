#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace onloop::detail {

class Runtime;
class SignalEntry;

/// The signals that one context watches, in the order in which the watches were set, and which of them are to be
/// called. The entries belong to the user's Signal handles.
class SignalWatches {
 public:
  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  void add(SignalEntry& entry) { entries_.push_back(&entry); }
  void remove(SignalEntry& entry) noexcept;
  /// Ends all watches, because the context goes.
  void sever() noexcept;

  /// Notes which signals came. For signal n, bit n - 1 is set.
  void note(std::uint64_t came) noexcept;
  /// Puts our handlers back where somebody has replaced them meanwhile.
  void look_after_handlers() const noexcept;
  /// A watch is to be called.
  [[nodiscard]] bool due() const noexcept { return due_; }
  /// Calls each watch whose signal came. If the turn ends before the last of them, the next call goes on after the one
  /// that was called last. A watch that an exception or a move leaves uncalled stays due.
  void serve(Runtime& runtime);

 private:
  void end_serving() noexcept;

  std::vector<SignalEntry*> entries_;  // null: removed while they were being called
  std::size_t next_ = 0;               // where serve() begins
  unsigned serving_ = 0;               // frames that are in serve()
  bool due_ = false;
};

}  // namespace onloop::detail
