#pragma once
#include <onloop/descriptor.hpp>

#include "core/runtime/runtime.hpp"

namespace onloop::detail {

/// Tells whether a watched descriptor is still the same open file, or whether its number belongs to another file now.
///
/// For sockets and pipes, the inode that fstat(2) gives is enough. For other files it is not: all eventfds share one
/// inode, so do all timerfds, and a terminal may be opened twice. An epoll set keeps the open file together with its
/// number. So this class puts the descriptors into an epoll set, and asks the kernel whether they are still there.
/// Nobody waits on the set.
///
/// It is a subsystem of the context. Thread: the context's.
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

  /// Notes the file that `fd` is now. Returns false if the kernel refuses it, for example because it has no room.
  [[nodiscard]] bool note(int fd) noexcept;
  /// True if `fd` is still the file that was noted under this number. True also if this can't be found out.
  [[nodiscard]] bool has(int fd) noexcept;
  /// Forgets the file that was noted for `fd`.
  void forget(int fd) noexcept;

 private:
  /// False in a forked child, where the set is the parent's.
  [[nodiscard]] bool usable() const noexcept { return set_ && !runtime_.forked(); }

  Runtime& runtime_;
  Descriptor set_;
  bool lost_ = false;  // in a forked child
};

}  // namespace onloop::detail
