#pragma once
#include <fcntl.h>
#include <onloop/export.h>
#include <sys/stat.h>
#include <onloop/blocking.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace onloop {

class Connection;

/// An open file; closed when it goes. Every call but fd() may block for as long as a disk takes (a FIFO without another
/// end, or a server that is gone: for ever), so in a program with a loop they are for Context::run_blocking, or for the
/// functions below, which go there. Errors are std::system_error. A File may be used on one thread after another, and
/// read on several at once.
class ONLOOP_API File {
 public:
  /// As open(2); O_CLOEXEC is added. "open notes.txt: No such file or directory".
  [[nodiscard]] static File open(const std::string& path, int flags = O_RDONLY, mode_t mode = 0666);
  /// Takes the descriptor.
  explicit File(int fd) noexcept : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File();

  /// Up to `size` bytes from `offset` on; fewer only where the file ends, none at its end.
  [[nodiscard]] std::vector<std::byte> read_at(std::uint64_t offset, std::size_t size) const;
  /// All of `data`.
  void write_at(std::uint64_t offset, std::span<const std::byte> data) const;
  [[nodiscard]] struct stat status() const;
  /// Closes it, and throws what close(2) says, which on some file systems is that a write before it has failed.
  void close();
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// The whole of a file, which must fit into memory. Blocks.
[[nodiscard]] ONLOOP_API std::string read_file_blocking(const std::string& path);
/// Makes the file or replaces what is in it. Blocks.
ONLOOP_API void write_file_blocking(const std::string& path, std::string_view content);
/// stat(2). Blocks.
[[nodiscard]] ONLOOP_API struct stat stat_file_blocking(const std::string& path);

// ---- on the context's worker pool: `done` gets an Outcome, later, as from Context::run_blocking ----

/// done(Outcome<File>)
template <class Done>
Job open_file(Context& context, std::string path, int flags, Done done) {
  return context.run_blocking([path = std::move(path), flags] { return File::open(path, flags); }, std::move(done));
}
/// done(Outcome<std::string>)
template <class Done>
Job read_file(Context& context, std::string path, Done done) {
  return context.run_blocking([path = std::move(path)] { return read_file_blocking(path); }, std::move(done));
}
/// done(Outcome<void>)
template <class Done>
Job write_file(Context& context, std::string path, std::string content, Done done) {
  return context.run_blocking(
      [path = std::move(path), content = std::move(content)] { write_file_blocking(path, content); }, std::move(done));
}
/// done(Outcome<struct stat>)
template <class Done>
Job stat_file(Context& context, std::string path, Done done) {
  return context.run_blocking([path = std::move(path)] { return stat_file_blocking(path); }, std::move(done));
}

/// Writes `length` bytes of `file`, from `offset` on, to `connection`, as fast as its peer takes them: the worker pool
/// reads one piece of 128 KiB at a time, the next when the connection has drained to its low-water mark. `done` comes
/// once, later: without an error when write() has taken everything; EIO if the file has become shorter than that;
/// ECONNABORTED if the connection is closing or over before. What it has written stays written: after an error that is
/// no end in good order, so abort() the connection. Not called if the context goes. What others write meanwhile, a
/// second send_file included, comes between two pieces. Throws EAGAIN if the worker queue is full; once begun, it is
/// not stopped by that.
ONLOOP_API void send_file(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
                          Function<void(std::error_code)> done);

}  // namespace onloop
