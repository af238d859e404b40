#include <onloop/file.hpp>

#include <unistd.h>

#include <cerrno>

#include "core/base/error.hpp"

namespace onloop {

using detail::refuse_zero_byte;
using detail::throw_error;

File File::open(const std::string& path, int flags, mode_t mode) {
  refuse_zero_byte(path, "open " + path + ": the path");
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) throw_error(errno, "open " + path);
  return File(fd);
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

std::vector<std::byte> File::read_at(std::uint64_t offset, std::size_t size) const {
  std::vector<std::byte> data(size);
  std::size_t got = 0;
  while (got < size) {
    const ssize_t more = ::pread(fd_, data.data() + got, size - got, static_cast<off_t>(offset + got));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) throw_error(errno, "read a file");
    if (more == 0) break;
    got += static_cast<std::size_t>(more);
  }
  data.resize(got);
  return data;
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> data) const {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t more = ::pwrite(fd_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (more < 0 && errno == EINTR) continue;
    if (more < 0) throw_error(errno, "write a file");
    done += static_cast<std::size_t>(more);
  }
}

struct stat File::status() const {
  struct stat status {};
  if (::fstat(fd_, &status) < 0) throw_error(errno, "stat a file");
  return status;
}

void File::close() {
  const int fd = std::exchange(fd_, -1);
  if (fd >= 0 && ::close(fd) < 0 && errno != EINTR) throw_error(errno, "close a file");
}

std::string read_file_blocking(const std::string& path) {
  const File file = File::open(path);
  std::string content;
  for (char piece[64 * 1024];;) {  // not pread(2), because not all files have offsets
    const ssize_t got = ::read(file.fd(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_error(errno, "read " + path);
    if (got == 0) return content;
    content.append(piece, static_cast<std::size_t>(got));
  }
}

void write_file_blocking(const std::string& path, std::string_view content) {
  File file = File::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  while (!content.empty()) {
    const ssize_t done = ::write(file.fd(), content.data(), content.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_error(errno, "write " + path);
    content.remove_prefix(static_cast<std::size_t>(done));
  }
  file.close();
}

struct stat stat_file_blocking(const std::string& path) {
  refuse_zero_byte(path, "stat " + path + ": the path");
  struct stat status {};
  if (::stat(path.c_str(), &status) < 0) throw_error(errno, "stat " + path);
  return status;
}

}  // namespace onloop
