#pragma once
#include <signal.h>

#include <initializer_list>
#include <optional>

namespace tools {

/// Signals as a descriptor that a loop can watch: they are blocked for the calling thread, and read one after the
/// other. They stay blocked to the end of the process: one that comes while it is ending in order must not kill it.
class Signals {
 public:
  /// Throws std::system_error.
  explicit Signals(std::initializer_list<int> numbers);
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  /// Readable while next() has one.
  [[nodiscard]] int fd() const noexcept { return fd_; }
  /// The number of the next signal that has come; never blocks.
  [[nodiscard]] std::optional<int> next() noexcept;

 private:
  int fd_;
};

/// "SIGINT" or "SIGTERM"; "signal" for any other.
[[nodiscard]] const char* signal_name(int number) noexcept;

}  // namespace tools
