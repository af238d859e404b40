// Opens files whose code this process may run, such as shims: files that no other user could have put there or changed.
//
// The code walks the path from the root, one component after the other. It opens each component relative to the
// descriptor of the last one, and resolves symbolic links itself. So the file that is opened is the file that was
// checked, even if somebody renames a component meanwhile.
#include "core/loop/trusted_file.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"

namespace onloop::detail {
namespace {

constexpr int kMostLinks = 40;               // the number of symbolic links that the kernel follows, too
constexpr std::size_t kScratch = 16 * 1024;  // for an entry of the user database; a longer entry is shown as a number

std::string user_text(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, kScratch> scratch{};
  const bool named = getpwuid_r(uid, &entry, scratch.data(), scratch.size(), &found) == 0 && found;
  return "user " + (named ? std::string(entry.pw_name) : std::to_string(uid));
}

std::string group_text(gid_t gid) {
  group entry{};
  group* found = nullptr;
  std::array<char, kScratch> scratch{};
  const bool named = getgrgid_r(gid, &entry, scratch.data(), scratch.size(), &found) == 0 && found;
  return "group " + (named ? std::string(entry.gr_name) : std::to_string(gid));
}

/// Says who else than its owner can write to a file. The string is empty if nobody can. An ACL that lets somebody write
/// shows in the bits of the group, too.
std::string writers(const struct stat& status) {
  if (status.st_mode & S_IWOTH) return "is writable by everybody";
  if (status.st_mode & S_IWGRP) return "is writable by " + group_text(status.st_gid);
  return {};
}

/// One walk along a path. The walk checks each component as it goes.
class Walk {
 public:
  Walk(const std::string& path, const std::string& what) : what_(what) {
    push(path);
    to_root();
  }

  TrustedFile run() {
    while (!left_.empty()) {
      const std::string name = std::move(left_.back());
      left_.pop_back();
      if (name == "..") {
        at_ = opened(at_, name, O_PATH | O_DIRECTORY, where_);
        where_.resize(where_.empty() ? 0 : where_.rfind('/'));
        enter(status_of(at_, place()), place());
        continue;
      }
      const std::string path = where_ + "/" + name;
      Descriptor next = opened(at_, name, O_PATH, path);
      const struct stat status = status_of(next, path);
      check_owner(status, path);
      if (S_ISLNK(status.st_mode)) {
        follow(next, path);
      } else if (left_.empty()) {
        return file(name, path, status);
      } else {
        if (!S_ISDIR(status.st_mode)) throw_error(ENOTDIR, what_ + ": " + path);
        enter(status, path);
        at_ = std::move(next);
        where_ = path;
      }
    }
    refuse(place(), "is no regular file");
  }

 private:
  /// Puts the components of the path before those that are left.
  void push(std::string_view path) {
    std::vector<std::string> names;
    while (!path.empty()) {
      const std::string_view name = path.substr(0, path.find('/'));
      path.remove_prefix(std::min(name.size() + 1, path.size()));
      if (!name.empty() && name != ".") names.emplace_back(name);
    }
    left_.insert(left_.end(), names.rbegin(), names.rend());
  }

  void to_root() {
    at_.reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!at_) throw_error(errno, what_ + ": /");
    where_.clear();
    enter(status_of(at_, place()), place());
  }

  /// Opens a component. `path` is its whole path, for an error.
  Descriptor opened(const Descriptor& at, const std::string& name, int flags, const std::string& path) const {
    Descriptor fd(openat(at.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) throw_error(errno, what_ + ": " + path);
    return fd;
  }

  struct stat status_of(const Descriptor& fd, const std::string& path) const {
    struct stat status {};
    if (fstat(fd.get(), &status) < 0) throw_error(errno, what_ + ": " + path);
    return status;
  }

  /// Goes on with the target of a symbolic link.
  void follow(const Descriptor& link, const std::string& path) {
    if (++links_ > kMostLinks) throw_error(ELOOP, what_ + ": " + path);
    std::array<char, PATH_MAX> target{};
    const ssize_t size = readlinkat(link.get(), "", target.data(), target.size());
    if (size < 0) throw_error(errno, what_ + ": " + path);
    push({target.data(), static_cast<std::size_t>(size)});
    if (target.front() == '/') to_root();
  }

  /// Checks the directory that the walk goes into. If others can write to it, it must be sticky, and `shared_` says who
  /// they are.
  void enter(const struct stat& status, const std::string& path) {
    check_owner(status, path);
    shared_.clear();
    const std::string whose = writers(status);
    if (whose.empty()) return;
    if (!(status.st_mode & S_ISVTX)) refuse(path, whose);
    shared_ = whose;
  }

  /// Opens the last component for reading, and checks what was opened.
  TrustedFile file(const std::string& name, const std::string& path, const struct stat& seen) {
    if (!S_ISREG(seen.st_mode)) refuse(path, "is no regular file");
    // In a sticky directory others can't replace this file, but they can add files of their own.
    if (!shared_.empty()) refuse(place(), shared_);
    TrustedFile file{.fd = opened(at_, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, path), .path = path};
    const struct stat status = status_of(file.fd, path);
    if (!S_ISREG(status.st_mode)) refuse(path, "is no regular file");
    check_owner(status, path);
    if (const std::string whose = writers(status); !whose.empty()) refuse(path, whose);
    file.device = status.st_dev;
    file.inode = status.st_ino;
    return file;
  }

  void check_owner(const struct stat& status, const std::string& path) const {
    if (status.st_uid == 0 || status.st_uid == geteuid()) return;
    refuse(path, "belongs to " + user_text(status.st_uid));
  }

  [[noreturn]] void refuse(const std::string& path, const std::string& why) const {
    throw_error(EPERM, what_ + ": other users could change it, since " + path + " " + why);
  }

  [[nodiscard]] std::string place() const { return where_.empty() ? "/" : where_; }

  const std::string& what_;
  std::vector<std::string> left_;  // components that the walk has not reached; the next one is the last element
  Descriptor at_;                  // the directory that the walk has reached
  std::string where_;              // the path of at_; empty for the root
  std::string shared_;             // who else can write to at_, which is sticky then; empty if nobody can
  int links_ = 0;                  // symbolic links that the walk has followed
};

}  // namespace

TrustedFile open_trusted(const std::string& path, const std::string& what) {
  refuse_zero_byte(path, what + ": the path");
  if (!path.starts_with('/')) throw_error(EINVAL, what + ": " + path + " is not an absolute path");
  return Walk(path, what).run();
}

}  // namespace onloop::detail
