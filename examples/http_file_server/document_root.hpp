#pragma once
#include <onloop/file.hpp>

#include <string>
#include <string_view>

namespace http {

/// A directory with contents to serve. No path leads out of it, neither by ".." nor by symbolic links, not even while
/// somebody moves directories. The kernel ensures this (openat2, RESOLVE_BENEATH). Before Linux 5.6 and under Valgrind
/// the kernel can't do so. Then links and ".." are not followed at all.
///
/// Thread: any.
class DocumentRoot {
 public:
  /// @throws std::system_error
  explicit DocumentRoot(const std::string& directory);

  /// Opens what is at `path` for reading. It may be something other than a file. Blocks for as long as the disk takes,
  /// but does not wait for the other end of a FIFO.
  ///
  /// @param path A relative path. An empty path means the root itself.
  /// @throws std::system_error EXDEV or ELOOP if the path leads out of the root. An absolute symbolic link counts as
  /// such.
  [[nodiscard]] onloop::File open(const std::string& path) const;

 private:
  [[nodiscard]] onloop::File walk(std::string_view path) const;

  onloop::File directory_;
  bool kernel_looks_ = true;
};

}  // namespace http
