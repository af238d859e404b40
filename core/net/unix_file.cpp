#include "core/net/unix_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/base/error.hpp"
#include "core/net/socket.hpp"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452  // Linux 6.6, the same number on each architecture that has it
#endif

namespace onloop::detail {
namespace {

/// While it lives, no other process and no other thread replaces the socket at the same path.
///
/// It is a flock(2) on a file beside the socket, which is there for so long only. The socket's own file can't be
/// locked. A lock on the directory would also exclude who replaces another socket there, and programs lock a directory
/// for their whole life to keep systemd-tmpfiles(8) away from it.
class ReplacementLock {
 public:
  ReplacementLock(const std::string& path, const std::string& what) : file_(path + ".onloop-replacing") {
    // To lock it, it is enough that it can be read. O_NONBLOCK, since somebody may have put a FIFO there.
    fd_.reset(open(file_.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644));
    if (!fd_) throw_error(errno, what + ": open " + file_);
    const bool locked = flock(fd_.get(), LOCK_EX | LOCK_NB) == 0;
    struct stat status {};
    // A file that is unlinked is the lock of somebody who has just replaced the socket.
    const bool late = fstat(fd_.get(), &status) == 0 && status.st_nlink == 0;
    if (late || (!locked && errno == EWOULDBLOCK)) {
      throw_error(EBUSY, what + ": another process is replacing the stale socket (" + file_ + " is locked)");
    }
    // A file system without flock(2): then the socket is replaced without a lock.
  }
  ReplacementLock(const ReplacementLock&) = delete;
  ReplacementLock& operator=(const ReplacementLock&) = delete;
  /// Unlinked while it is locked: whoever has it open already sees that by its link count.
  ~ReplacementLock() { ::unlink(file_.c_str()); }

 private:
  const std::string file_;
  Descriptor fd_;
};

/// No socket is bound to the one whose file `address` names, whether it listens already or not.
///
/// A datagram socket can't be connected to a stream socket: EPROTOTYPE says that there is one, also between its bind
/// and its listen, when a stream socket would be refused. And who listens there gets no client that goes at once.
bool is_stale(const Address& address) noexcept {
  struct stat status {};
  if (lstat(address.name().c_str(), &status) < 0 || !S_ISSOCK(status.st_mode)) return false;
  const SocketAddress to(address);
  for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {  // the second for kernels that look at the type last, as gVisor
    const Descriptor probe(socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!probe || ::connect(probe.get(), to.data(), to.length) == 0 || errno != ECONNREFUSED) return false;
  }
  return true;
}

/// The permissions of the file that `seen` describes, which may not be at `path` any more: a chmod by path would follow
/// a symbolic link that somebody has put there. Returns 0 or an errno value, ESTALE if another file is there.
int set_mode(const std::string& path, const struct stat& seen, mode_t mode) {
  const Descriptor file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return errno;
  struct stat status {};
  if (fstat(file.get(), &status) < 0) return errno;
  if (status.st_dev != seen.st_dev || status.st_ino != seen.st_ino) return ESTALE;
  // fchmod(2) refuses such a descriptor.
  if (chmod(("/proc/self/fd/" + std::to_string(file.get())).c_str(), mode) == 0) return 0;
  if (errno != ENOENT) return errno;
  return syscall(SYS_fchmodat2, file.get(), "", mode, AT_EMPTY_PATH) == 0 ? 0 : errno;  // without /proc
}

}  // namespace

void UnixFile::bind(int socket, const Address& address, unsigned mode, bool replace_stale, const std::string& what) {
  const std::string& path = address.name();
  refuse_zero_byte(path, what + ": the path");
  const SocketAddress to(address);
  // Linux gives the file the mode of the socket's own inode, less the umask, so it is never open wider than asked.
  if (fchmod(socket, mode) < 0) throw_error(errno, what);
  int result = ::bind(socket, to.data(), to.length);
  if (result < 0 && errno == EADDRINUSE && replace_stale) {
    const ReplacementLock lock(path, what);
    if (!is_stale(address)) throw_error(EADDRINUSE, what);
    if (::unlink(path.c_str()) < 0 && errno != ENOENT) throw_error(errno, what + ": unlink the stale socket");
    // Who binds without replacing anything takes no lock, and may come first: then it is in use.
    result = ::bind(socket, to.data(), to.length);
    if (result < 0) throw_error(errno, what);
  }
  if (result < 0) throw_error(errno, what);

  struct stat status {};
  if (lstat(path.c_str(), &status) < 0) throw_error(errno, what + ": the file that was bound");
  // The file has just been made, so another kind of file, or one that has a second name, is not it.
  const std::string replaced = what + ": somebody has put another file at the path meanwhile";
  if (!S_ISSOCK(status.st_mode) || status.st_nlink != 1) throw_error(EEXIST, replaced);
  std::error_code unknown;  // the directory may have gone: then the path is as good as it was
  path_ = std::filesystem::absolute(path, unknown).string();
  if (unknown) path_ = path;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  process_ = this_process();
  if ((status.st_mode & 07777) == mode) return;
  const int error = set_mode(path, status, mode);  // the umask took bits away
  if (error == 0) return;
  if (error == ESTALE || error == ENOENT) throw_error(EEXIST, replaced);
  throw_error(error, what + ": set the permissions");
}

UnixFile& UnixFile::operator=(UnixFile&& other) noexcept {
  if (this == &other) return *this;
  remove();
  path_ = std::exchange(other.path_, {});
  device_ = other.device_;
  inode_ = other.inode_;
  process_ = other.process_;
  return *this;
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
