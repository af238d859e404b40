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

/// An open file. The destructor closes it.
///
/// Every call except fd() may block for as long as a disk takes. It blocks for ever for a FIFO without another end, or
/// for a server that is gone. Therefore a program with a loop should make these calls in Context::run_blocking, or use
/// the functions below, which do so. Errors are thrown as std::system_error.
///
/// Thread: a File may be used on one thread after another. Several threads may read it at once.
class ONLOOP_API File {
 public:
  /// Opens a file as open(2) does. O_CLOEXEC is added.
  /// @throws std::system_error with a message such as "open notes.txt: No such file or directory".
  [[nodiscard]] static File open(const std::string& path, int flags = O_RDONLY, mode_t mode = 0666);
  /// Takes the ownership of the descriptor.
  explicit File(int fd) noexcept : fd_(fd) {}
  /// Takes the file of `other`, which then has none.
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  /// Swaps the files: `other` gets the file of this object, and closes it when it is destroyed.
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  /// Closes the file, if it has one, and ignores an error. Use close() to learn of an error.
  ~File();

  /// @return Up to `size` bytes from `offset` on. There are fewer bytes only where the file ends, and none at its end.
  [[nodiscard]] std::vector<std::byte> read_at(std::uint64_t offset, std::size_t size) const;
  /// Writes all of `data` at `offset`.
  void write_at(std::uint64_t offset, std::span<const std::byte> data) const;
  /// @return What fstat(2) says of the file.
  [[nodiscard]] struct stat status() const;
  /// Closes the file.
  /// @throws std::system_error with the error of close(2). On some file systems this error means that an earlier write
  /// has failed.
  void close();
  /// @return The descriptor, or -1 after close(). The File owns it.
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// Reads the whole of a file. The content must fit into memory. Blocks.
[[nodiscard]] ONLOOP_API std::string read_file_blocking(const std::string& path);
/// Makes the file, or replaces its content. Blocks.
ONLOOP_API void write_file_blocking(const std::string& path, std::string_view content);
/// Calls stat(2) for the file. Blocks.
[[nodiscard]] ONLOOP_API struct stat stat_file_blocking(const std::string& path);

// ---- on the context's worker pool: `done` gets an Outcome later, as from Context::run_blocking ----

/// Opens a file as File::open does, and calls `done(Outcome<File>)`.
template <class Done>
Job open_file(Context& context, std::string path, int flags, Done done) {
  return context.run_blocking([path = std::move(path), flags] { return File::open(path, flags); }, std::move(done));
}
/// Reads a file as read_file_blocking() does, and calls `done(Outcome<std::string>)`.
template <class Done>
Job read_file(Context& context, std::string path, Done done) {
  return context.run_blocking([path = std::move(path)] { return read_file_blocking(path); }, std::move(done));
}
/// Writes a file as write_file_blocking() does, and calls `done(Outcome<void>)`.
template <class Done>
Job write_file(Context& context, std::string path, std::string content, Done done) {
  return context.run_blocking(
      [path = std::move(path), content = std::move(content)] { write_file_blocking(path, content); }, std::move(done));
}
/// Calls stat(2) as stat_file_blocking() does, and calls `done(Outcome<struct stat>)`.
template <class Done>
Job stat_file(Context& context, std::string path, Done done) {
  return context.run_blocking([path = std::move(path)] { return stat_file_blocking(path); }, std::move(done));
}

/// Writes `length` bytes of `file`, from `offset` on, to `connection`. It writes as fast as the peer takes them: the
/// worker pool reads one piece of 128 KiB at a time, and reads the next piece when the connection has drained to its
/// low-water mark. Bytes that other code writes meanwhile come between two pieces; this includes a second send_file().
///
/// Bytes already written cannot be recalled. After an error the output is truncated, so abort() the connection.
/// @param connection The connection to which the bytes go. It may end meanwhile.
/// @param file The open file, of which the function takes the ownership. It must have offsets, as a regular file has.
/// @param offset Where in the file the first byte is.
/// @param length The number of bytes to send.
/// @param done Is called once, later. It is not called if the context is destroyed first. It gets no error when write()
/// has taken everything. It gets EIO if the file has become too short. It gets ECONNABORTED if the connection is
/// closing or has ended before. It gets the error of a read that fails.
/// @throws std::system_error with EAGAIN if the worker queue is full. After it has begun, a full worker queue does not
/// stop it.
ONLOOP_API void send_file(Connection& connection, File file, std::uint64_t offset, std::uint64_t length,
                          Function<void(std::error_code)> done);

}  // namespace onloop
