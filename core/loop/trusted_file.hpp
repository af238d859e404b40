#pragma once
#include <sys/types.h>

#include <string>

#include "core/base/unique_fd.hpp"

namespace onloop::detail {

/// A regular file that nobody but root and this user could have put there or can change.
struct TrustedFile {
  UniqueFd fd;       ///< open for reading
  std::string path;  ///< where it is, without symbolic links
  dev_t device = 0;
  ino_t inode = 0;
};

/// Opens the file at an absolute path. Root or the effective user must own each directory, each symbolic link and the
/// file itself, and neither a group nor others may write to them. A directory that others can write to is accepted
/// further up if it is sticky, as /tmp is: they can't replace what they do not own. Throws std::system_error that
/// begins with `what` and says which component is refused and why (EPERM), or what could not be opened.
[[nodiscard]] TrustedFile open_trusted(const std::string& path, const std::string& what);

}  // namespace onloop::detail
