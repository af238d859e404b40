#pragma once
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace onloop::conformance {

/// Owns a descriptor.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void close() noexcept;

 private:
  int fd_ = -1;
};

/// Lets the process open `free` more descriptors, and no more. The kernel's limit is on the number: so that it counts,
/// every number below it is taken first.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(int free);
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit();

 private:
  rlimit former_{};
  std::vector<Descriptor> taken_;
};

/// More descriptors than any host takes for a loop. How many it takes is its own affair: libuv 1.44 six, 1.52 eight.
inline constexpr int kMostForALoop = 64;

/// Two ends of one thing, non-blocking, closed on exec.
struct Pair {
  Descriptor near;
  Descriptor far;
};
Pair socket_pair();
Pair tcp_pair();
Pair pipe_pair();  ///< near is read from, far is written to
/// A TCP socket connected to a port of this machine.
Descriptor tcp_client(std::uint16_t port);
/// A TCP socket that is connecting to a port of this machine where nobody listens.
Descriptor refused_socket();

void reset(Descriptor& socket);  ///< closes it so that its peer gets ECONNRESET

bool put(int fd, std::string_view data = "x");        ///< true if all was written
std::string take(int fd, std::size_t limit = 65536);  ///< what is there, at most `limit`
std::size_t fill(int fd);                             ///< writes until the kernel refuses; how much
std::size_t drain(int fd);                            ///< reads until nothing is there; how much

}  // namespace onloop::conformance
