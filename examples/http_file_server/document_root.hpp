#pragma once
#include <onloop/file.hpp>

#include <string>
#include <string_view>

namespace http {

/// A directory out of which no path leads: neither by dots nor by symbolic links, not even while somebody moves
/// directories about, since it is the kernel that looks (openat2, RESOLVE_BENEATH). Where it can't, before Linux 5.6
/// and under Valgrind, links and ".." are not followed at all. May be used on any thread.
class DocumentRoot {
 public:
  /// Throws std::system_error.
  explicit DocumentRoot(const std::string& directory);

  /// Opens what is at `path`, a relative one (empty: the root itself), for reading; it may be something else than a
  /// file. Throws std::system_error: EXDEV (or ELOOP) if it leads out, by an absolute symbolic link as well. Blocks for
  /// as long as the disk takes, but for no FIFO's other end.
  [[nodiscard]] onloop::File open(const std::string& path) const;

 private:
  [[nodiscard]] onloop::File walk(std::string_view path) const;

  onloop::File directory_;
  bool kernel_looks_ = true;
};

}  // namespace http
