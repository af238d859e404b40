#pragma once
#include <sys/resource.h>
#include <onloop/descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onloop::conformance {

/// Lets the process open only `free` more descriptors. The limit of the kernel applies to the number of a descriptor.
/// So that the limit counts, this object first takes every number below it.
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

/// More descriptors than any host takes for a loop. Each host takes its own number: libuv 1.44 takes six and 1.52 takes
/// eight.
inline constexpr int kMostForALoop = 64;

/// Two connected descriptors. They are non-blocking and closed on exec.
struct Pair {
  Descriptor near;
  Descriptor far;
};
Pair socket_pair();
Pair tcp_pair();
Pair pipe_pair();  ///< `near` is the reading end, `far` is the writing end
/// @return A TCP socket that is connected to a port of this machine.
Descriptor tcp_client(std::uint16_t port);
/// @return A TCP socket that is connecting to a port of this machine where nobody listens.
Descriptor refused_socket();

void reset(Descriptor& socket);  ///< closes the socket so that its peer gets ECONNRESET

bool put(int fd, std::string_view data = "x");        ///< returns true if everything was written
std::string take(int fd, std::size_t limit = 65536);  ///< returns what is there, at most `limit` bytes
std::size_t fill(int fd);                             ///< writes until the kernel refuses; returns how many bytes
std::size_t drain(int fd);                            ///< reads until nothing is there; returns how many bytes

}  // namespace onloop::conformance
