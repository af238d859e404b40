#pragma once
#include "core/base/unique_fd.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

/// Tells whether a descriptor still is the open file that it was. fstat(2) knows that of sockets and pipes. But all
/// eventfds share one inode, as timerfds do, and a terminal may be opened twice. What the kernel keeps in an epoll set
/// is the open file together with its number, so it is asked by such a set. Nobody waits on the set.
class WatchedFiles final : public Subsystem {
 public:
  explicit WatchedFiles(Runtime& runtime) noexcept : runtime_(runtime) {}
  void sever() noexcept override { set_.reset(); }
  /// The set is the parent's. A new one would not have the files that were noted, so from here on every file is taken
  /// for the same.
  void after_fork() noexcept override {
    set_.reset();
    lost_ = true;
  }

  /// False if the kernel has no room for it.
  [[nodiscard]] bool note(int fd) noexcept;
  /// Whether `fd` is the file that was noted under this number.
  [[nodiscard]] bool has(int fd) noexcept;
  void forget(int fd) noexcept;

 private:
  /// Not so in a forked child, where the set is the parent's.
  [[nodiscard]] bool usable() const noexcept { return set_ && !runtime_.forked(); }

  Runtime& runtime_;
  UniqueFd set_;
  bool lost_ = false;  // in a forked child
};

}  // namespace onloop::detail
