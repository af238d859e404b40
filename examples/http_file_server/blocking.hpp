#pragma once
#include <onloop/address.hpp>

#include <chrono>
#include <functional>
#include <memory>

#include "document_root.hpp"
#include "options.hpp"

/// The common parts of the two servers without an event loop: sockets that block.
namespace http {

/// A connected socket. The destructor closes it.
class Socket {
 public:
  explicit Socket(int fd) noexcept : fd_(fd) {}
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&&) = delete;
  ~Socket();
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

/// Serves a connection: reads a request, fetches the file and writes it, one request after the other. It returns when
/// the client ends, after an error, or when no byte moves for the time-out.
void handle_connection(const Socket& socket, const DocumentRoot& root, std::chrono::nanoseconds timeout);

/// Waits for the next TCP connection, again and again, and calls `handle` with each. It does not return. SIGINT and
/// SIGTERM end the process, whatever its threads are doing.
[[noreturn]] void accept_forever(const Options& options, const std::string& name,
                                 const std::function<void(Socket)>& handle);

}  // namespace http
