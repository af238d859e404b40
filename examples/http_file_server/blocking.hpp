#pragma once
#include <onloop/address.hpp>

#include <chrono>
#include <functional>
#include <memory>

#include "document_root.hpp"
#include "options.hpp"

/// What the document's two servers without an event loop have in common: sockets that block.
namespace http {

/// A connected socket; closed when it goes.
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

/// Reads requests, fetches the files and writes them, one after the other, until the client or an error ends that. It
/// is given up on when nothing moves for the time-out.
void handle_connection(const Socket& socket, const DocumentRoot& root, std::chrono::nanoseconds timeout);

/// "wait for the next TCP connection", again and again; calls `handle` with each. SIGINT and SIGTERM end it, and the
/// process with it, whatever its threads are at; so it does not return.
[[noreturn]] void accept_forever(const Options& options, const std::string& name,
                                 const std::function<void(Socket)>& handle);

}  // namespace http
