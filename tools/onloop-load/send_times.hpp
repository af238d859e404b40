#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace load {

/// The times at which the messages in flight of one connection were sent, the oldest first.
///
/// Messages with the same time share an entry, and entries are reused. So nothing is allocated after the window of the
/// connection was full once.
class SendTimes {
 public:
  void add(std::uint64_t time, std::size_t messages) {
    if (used_ != 0) {
      Entry& last = entries_[(first_ + used_ - 1) & (entries_.size() - 1)];
      if (last.time == time) {
        last.messages += messages;
        return;
      }
      if (used_ == entries_.size()) grow();
    }
    entries_[(first_ + used_++) & (entries_.size() - 1)] = {time, messages};
  }

  /// Removes the oldest `messages` messages. There must be at least that many. Calls record(time, number of messages)
  /// for each time of sending.
  template <class Record>
  void take(std::size_t messages, Record&& record) {
    while (messages != 0) {
      Entry& oldest = entries_[first_];
      const std::size_t taken = std::min(messages, oldest.messages);
      record(oldest.time, taken);
      messages -= taken;
      oldest.messages -= taken;
      if (oldest.messages == 0) {
        first_ = (first_ + 1) & (entries_.size() - 1);
        --used_;
      }
    }
  }

 private:
  struct Entry {
    std::uint64_t time;
    std::size_t messages;
  };

  void grow() {
    std::rotate(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(first_), entries_.end());
    first_ = 0;
    entries_.resize(entries_.size() * 2);
  }

  std::vector<Entry> entries_ = std::vector<Entry>(2);  // a ring buffer; its size is a power of two
  std::size_t first_ = 0;
  std::size_t used_ = 0;
};

}  // namespace load
