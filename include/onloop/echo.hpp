#pragma once
#include <onloop/export.h>
#include <onloop/protocol.hpp>

namespace onloop {

/// A protocol that sends back the bytes that it gets (RFC 862).
///
/// While a client does not read, Echo does not read from that client. Therefore it holds at most the high-water mark
/// and one read buffer for each client. When the client ends its side, Echo flushes the rest and closes the connection.
class ONLOOP_API Echo : public Protocol {
 public:
  /// Writes `data` back. After Flow::wait it stops reading from this client.
  void on_data(Connection& connection, std::span<const std::byte> data) override;
  /// Reads from this client again.
  void on_drain(Connection& connection) override;
};

}  // namespace onloop
