#pragma once
#include <onloop/file.hpp>

#include <string>

namespace http {

/// A directory out of which no path leads: neither by dots nor by symbolic links, not even while somebody moves
/// directories about, since it is the kernel that looks (openat2, RESOLVE_BENEATH). May be used on any thread.
class DocumentRoot {
 public:
  /// Throws std::system_error: no directory, or a kernel before Linux 5.6.
  explicit DocumentRoot(const std::string& directory);

  /// Opens what is at `path`, a relative one (empty: the root itself), for reading; it may be something else than a
  /// file. Throws std::system_error: EXDEV if it leads out, by an absolute symbolic link as well. Blocks for as long as
  /// the disk takes, but for no FIFO's other end.
  [[nodiscard]] onloop::File open(const std::string& path) const;

 private:
  onloop::File directory_;
};

}  // namespace http
