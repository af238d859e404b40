#pragma once
#include <sys/types.h>
#include <onloop/descriptor.hpp>

#include <string>

namespace onloop::detail {

/// An open regular file. Only root and the effective user could have put it there, and only they can change it.
struct TrustedFile {
  Descriptor fd;     ///< open for reading
  std::string path;  ///< its absolute path, without symbolic links
  dev_t device = 0;
  ino_t inode = 0;
};

/// Opens the file at an absolute path, for reading, if no other user can have changed it.
///
/// Root or the effective user must own each directory, each symbolic link and the file itself. Neither a group nor
/// others may be able to write to them. There is one exception: a directory that is not the file's own may be writable
/// if it is sticky, as /tmp is, because others can't replace there what they do not own.
///
/// @throws std::system_error Its text begins with `what`, and says which component is refused and why (EPERM), or what
/// could not be opened.
[[nodiscard]] TrustedFile open_trusted(const std::string& path, const std::string& what);

}  // namespace onloop::detail
