#include "core/net/unix_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/net/socket.hpp"

namespace onloop::detail {
namespace {

/// There is a socket at `address`, and nobody listens on it.
bool is_stale(const Address& address) noexcept {
  struct stat status {};
  if (lstat(address.name().c_str(), &status) < 0 || !S_ISSOCK(status.st_mode)) return false;
  const UniqueFd probe = make_socket(address);
  SocketAddress to(address);
  return probe && ::connect(probe.get(), to.data(), to.length) < 0 && errno == ECONNREFUSED;
}

}  // namespace

int UnixFile::bind(int socket, const std::string& path, unsigned mode, bool replace_stale) {
  const Address address = Address::from_name(Address::Family::unix_path, path);
  SocketAddress to(address);
  // Linux gives the file the mode of the socket's own inode, less the umask, so it is never open wider than asked.
  if (fchmod(socket, mode) < 0) return errno;
  int result = ::bind(socket, to.data(), to.length);
  if (result < 0 && errno == EADDRINUSE && replace_stale) {
    if (!is_stale(address)) return EADDRINUSE;
    ::unlink(path.c_str());
    result = ::bind(socket, to.data(), to.length);
  }
  if (result < 0) return errno;

  struct stat status {};
  if (lstat(path.c_str(), &status) == 0) {
    std::error_code unknown;  // the directory may have gone: then the path is as good as it was
    path_ = std::filesystem::absolute(path, unknown).string();
    if (unknown) path_ = path;
    device_ = status.st_dev;
    inode_ = status.st_ino;
    process_ = this_process();
    if ((status.st_mode & 07777) != mode && chmod(path.c_str(), mode) < 0) return errno;  // the umask took bits away
  }
  return 0;
}

void UnixFile::remove() noexcept {
  if (path_.empty() || process_ != this_process()) return;
  struct stat status {};
  if (lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  path_.clear();
}

void UnixFile::adopt(Identity file) noexcept {
  path_ = std::move(file.path);
  device_ = file.device;
  inode_ = file.inode;
  process_ = this_process();
}

}  // namespace onloop::detail
