#pragma once
#include <onloop/blocking.hpp>
#include <onloop/connection.hpp>
#include <onloop/context.hpp>
#include <onloop/protocol.hpp>

#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>

#include "answer.hpp"
#include "document_root.hpp"

namespace http {

/// Serves the files below a directory. README.md describes its state machine. The worker pool of the context reads the
/// disk, so the loop never waits for a disk.
class FileServer final : public onloop::Protocol {
 public:
  /// @param root It must outlive the contexts that this object serves.
  FileServer(const DocumentRoot& root, std::chrono::nanoseconds timeout) : root_(root), timeout_(timeout) {}

  /// @return The options for Context::listen(). A connection on which no byte moves for the time-out is closed.
  [[nodiscard]] onloop::ListenOptions listen_options() const;

  void on_open(onloop::Connection& connection) override;
  void on_data(onloop::Connection& connection, std::span<const std::byte> data) override;
  void on_end(onloop::Connection& connection) override;

 private:
  struct Client;

  void read_request(onloop::Connection& connection, std::string_view bytes);
  void request_is_partial(onloop::Connection& connection);
  void take_request(onloop::Connection& connection);
  void fetch_file(onloop::Connection& connection);
  void write_headers(onloop::Connection& connection, Answer answer);
  bool begin_contents(onloop::Connection& connection, Answer& answer);
  void when_taken(onloop::Connection& connection, onloop::Flow flow);
  void written(onloop::Connection& connection);

  const DocumentRoot& root_;
  std::chrono::nanoseconds timeout_;
};

}  // namespace http
