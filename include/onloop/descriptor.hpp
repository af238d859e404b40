#pragma once
#include <unistd.h>

#include <utility>

namespace onloop {

/// Owns a file descriptor and closes it. It is to a descriptor what std::unique_ptr is to an object.
///
/// It is move-only. A moved-from Descriptor is empty. An error of close(2) is ignored, because the kernel has released
/// the number in any case.
///
/// A function of onloop that takes over a descriptor has an int as its parameter, and says when the descriptor is its
/// own. If such a function may throw, release the descriptor only after the call:
///
///     onloop::Descriptor socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
///     if (!socket) throw std::system_error(errno, std::generic_category(), "socket");
///     onloop::import_context(context, socket.get(), members, done);
///     socket.release();  // import_context owns it from here on
///
/// Thread: as an int. Two threads must not use the same Descriptor at once if one of them changes it.
class Descriptor {
 public:
  /// Makes an empty Descriptor.
  Descriptor() noexcept = default;
  /// Takes the ownership of a descriptor.
  /// @param fd The descriptor. If it is negative, as the result of a system call that failed, nothing is owned.
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  /// Takes over what `other` owns. `other` is empty afterwards.
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  /// Closes the descriptor that it owns, and takes over what `other` owns. `other` is empty afterwards. An assignment
  /// to itself changes nothing.
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  /// Closes the descriptor, if it owns one.
  ~Descriptor() { reset(); }

  /// @return The descriptor, which stays owned. It is negative if there is none.
  [[nodiscard]] int get() const noexcept { return fd_; }
  /// @return True if it owns a descriptor.
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the ownership to the caller. The Descriptor is empty afterwards.
  /// @return The descriptor, which the caller must close. It is negative if there was none.
  int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the descriptor, if it owns one, and takes the ownership of another one.
  /// @param fd The new descriptor. It must not be the one that is owned already. If it is negative, the Descriptor is
  ///           empty afterwards.
  void reset(int fd = -1) noexcept {
    if (const int old = std::exchange(fd_, fd); old >= 0) ::close(old);
  }

 private:
  int fd_ = -1;
};

}  // namespace onloop
