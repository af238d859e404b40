#pragma once
#include <signal.h>
#include <onloop/descriptor.hpp>

#include <initializer_list>
#include <optional>

namespace tools {

/// Signals as a descriptor that a loop can watch.
///
/// The constructor blocks the signals for the calling thread, and next() reads them one after the other. The signals
/// stay blocked until the process ends, so that a signal cannot kill a process that is just ending in order.
class Signals {
 public:
  /// @throws std::system_error if the signals cannot be blocked, or if there is no descriptor for them.
  explicit Signals(std::initializer_list<int> numbers);

  /// The descriptor. It is readable while next() can return a signal.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// The number of the next signal that has arrived, or nothing. Never blocks.
  [[nodiscard]] std::optional<int> next() noexcept;

 private:
  onloop::Descriptor fd_;
};

/// "SIGINT" or "SIGTERM", or "signal" for any other signal.
[[nodiscard]] const char* signal_name(int number) noexcept;

}  // namespace tools
