#include "document_root.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace http {
namespace {

// Opening does not wait for the other end of a FIFO, and a terminal does not become the controlling terminal.
constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

// The most attempts to open a path. If a directory is moved while the kernel follows "..", the kernel can't tell where
// it leads (EAGAIN).
constexpr int kAttempts = 10;

[[noreturn]] void fail(int error, std::string_view path) {
  throw std::system_error(error, std::generic_category(), "open " + std::string{path});
}

}  // namespace

DocumentRoot::DocumentRoot(const std::string& directory)
    : directory_(onloop::File::open(directory, O_PATH | O_DIRECTORY)) {
  try {
    static_cast<void>(open(""));
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::function_not_supported) throw;
    kernel_looks_ = false;
    static_cast<void>(open(""));
  }
}

onloop::File DocumentRoot::open(const std::string& path) const {
  if (!kernel_looks_) return walk(path);
  open_how how{};
  how.flags = kFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const char* const name = path.empty() ? "." : path.c_str();
  for (int attempt = 1;; ++attempt) {
    const long opened = syscall(SYS_openat2, directory_.fd(), name, &how, sizeof how);
    if (opened >= 0) return onloop::File{static_cast<int>(opened)};
    if (errno != EINTR && (errno != EAGAIN || attempt == kAttempts)) fail(errno, name);
  }
}

/// Opens one directory after the other, each relative to the one before, and then the last name in the last directory.
onloop::File DocumentRoot::walk(std::string_view path) const {
  onloop::File at{openat(directory_.fd(), ".", kFlags)};
  if (at.fd() < 0) fail(errno, path);
  for (std::string_view rest = path; !rest.empty();) {
    const std::string name{rest.substr(0, rest.find('/'))};
    rest.remove_prefix(name.size());
    const bool is_directory = !rest.empty();
    rest.remove_prefix(is_directory ? 1 : 0);
    if (name.empty() || name == ".") continue;
    if (name == "..") fail(EXDEV, path);
    at = onloop::File{openat(at.fd(), name.c_str(), kFlags | O_NOFOLLOW | (is_directory ? O_DIRECTORY : 0))};
    if (at.fd() < 0) fail(errno, path);
  }
  return at;
}

}  // namespace http
