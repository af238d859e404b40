#pragma once
#include <onloop/export.h>
#include <onloop/protocol.hpp>

namespace onloop {

/// Sends back what it gets (RFC 862). A client that does not read is not read from either, so at most the high-water
/// mark and one read buffer are held for it. When the client ends its side, the rest is flushed and the connection
/// closed.
class ONLOOP_API Echo : public Protocol {
 public:
  void on_data(Connection& connection, std::span<const std::byte> data) override;
  void on_drain(Connection& connection) override;
};

}  // namespace onloop
