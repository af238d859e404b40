#pragma once
#include <sys/types.h>
#include <onloop/address.hpp>

#include <string>
#include <utility>

#include "core/base/process_mark.hpp"

namespace onloop::detail {

/// The file of a listening UNIX socket, unlinked with it: by the process that bound it, and only while the path still
/// names that very socket.
class UnixFile {
 public:
  UnixFile() noexcept = default;
  UnixFile(UnixFile&& other) noexcept { *this = std::move(other); }
  UnixFile& operator=(UnixFile&& other) noexcept;
  ~UnixFile() { remove(); }

  /// Binds `socket` to the path that `address` names with exactly the permissions `mode`, at no moment with wider ones.
  /// With `replace_stale`, a socket's file there to which no socket is bound any more is unlinked first.
  /// @throws std::system_error whose text begins with `what`: EBUSY if another process or thread is replacing the same
  /// file, EEXIST if somebody has put something else at the path since bind(2) made the file there.
  void bind(int socket, const Address& address, unsigned mode, bool replace_stale, const std::string& what);
  void remove() noexcept;
  /// Whether there is a file.
  explicit operator bool() const noexcept { return !path_.empty(); }
  /// For a socket that goes to another process: what names its file, whose path is empty if it has none; forgets it;
  /// and takes one that came from there.
  struct Identity {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;
  };
  [[nodiscard]] Identity identity() const { return {path_, device_, inode_}; }
  void forget() noexcept { path_.clear(); }
  void adopt(Identity file) noexcept;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  ProcessMark process_ = 0;
};

}  // namespace onloop::detail
