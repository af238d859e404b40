#include "document_root.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace http {
namespace {

// How often to look again if a directory was moved while the kernel followed "..": it then can't tell (EAGAIN).
constexpr int kAttempts = 10;

}  // namespace

DocumentRoot::DocumentRoot(const std::string& directory)
    : directory_(onloop::File::open(directory, O_PATH | O_DIRECTORY)) {
  static_cast<void>(open(""));
}

onloop::File DocumentRoot::open(const std::string& path) const {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const char* const name = path.empty() ? "." : path.c_str();
  for (int attempt = 1;; ++attempt) {
    const long opened = syscall(SYS_openat2, directory_.fd(), name, &how, sizeof how);
    if (opened >= 0) return onloop::File{static_cast<int>(opened)};
    if (errno != EINTR && (errno != EAGAIN || attempt == kAttempts)) {
      throw std::system_error(errno, std::generic_category(), "open " + std::string{name});
    }
  }
}

}  // namespace http
