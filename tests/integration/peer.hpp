#pragma once
#include <sys/resource.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <onloop/address.hpp>
#include <onloop/descriptor.hpp>

namespace onloop::test {

using Fd = Descriptor;

/// The other end of a connection under test: a plain non-blocking socket, driven between the context's turns.
class Peer {
 public:
  Peer() = default;
  explicit Peer(Fd socket);
  /// Throws std::system_error if the kernel refuses.
  static Peer connect_to(const Address& address);
  /// Starts to connect and does not wait.
  static Peer start_connecting_to(const Address& address);

  [[nodiscard]] int fd() const { return socket_.get(); }
  /// Sends what the kernel takes of `data`, and returns how much that was.
  std::size_t send(std::string_view data) const;
  /// Reads at most `at_most` bytes of what is there. True if something came or an end was seen.
  bool read(std::size_t at_most = SIZE_MAX);
  /// All that read() has got, and whether a FIN came after it, or an error (an errno), 0 for none.
  [[nodiscard]] const std::string& received() const { return received_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] bool over() const { return ended_ || error_ != 0; }

  void finish() const;  ///< sends a FIN
  void close();
  void reset();  ///< closes with a RST (TCP)

 private:
  Fd socket_;
  std::string received_;
  bool ended_ = false;
  int error_ = 0;
};

/// A listening socket that onloop has not made. It is blocking, and has the address that it got.
struct RawListener {
  explicit RawListener(std::string_view address, int backlog = 64);
  [[nodiscard]] Peer accept() const;  ///< waits for a client
  Fd socket;
  Address address;
};

/// A listener whose backlog is full, so that a connect to it stays pending.
struct FullListener {
  explicit FullListener(std::string_view address = "127.0.0.1:0");
  RawListener listener;
  Peer first, second, third;
};

enum class Kind { tcp, unix_pair };
/// Two connected stream sockets, both blocking.
std::pair<Fd, Fd> connected_pair(Kind kind);

/// A port on which nobody listens, on both loopback addresses. The port is bound as long as this object lives. A port
/// that is only known to be free may belong to another process a moment later, or to the client itself.
struct RefusedPort {
  RefusedPort();
  Address address;  ///< on 127.0.0.1
  Fd ipv4, ipv6;
};

/// `size` bytes of a pattern. A lost, doubled or moved byte makes a visible difference.
std::string pattern(std::size_t size);

/// While it lives, this process can open only `more` further descriptors.
class DescriptorsLeft {
 public:
  explicit DescriptorsLeft(rlim_t more);
  DescriptorsLeft(const DescriptorsLeft&) = delete;
  DescriptorsLeft& operator=(const DescriptorsLeft&) = delete;
  ~DescriptorsLeft();

 private:
  rlimit before_{};
};

/// A directory of its own under /tmp; removed with what is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace onloop::test
