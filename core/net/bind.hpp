#pragma once
#include <onloop/address.hpp>
#include <onloop/descriptor.hpp>
#include <onloop/options.hpp>

#include <vector>

#include "core/net/unix_file.hpp"

namespace onloop::detail {

/// Sockets that listen. If this is destroyed, the file goes first: once its socket is closed, the file is stale, and
/// another process may replace it.
struct BoundSockets {
  std::vector<Descriptor> sockets;
  UnixFile file;  ///< of the socket, if it is bound to a path
};

/// Makes the sockets that listen on `address`, which is not of the family `inherited`. For `localhost` there are two,
/// on the same port; one of them may be missing if the machine has no IPv6 or no IPv4.
/// @throws std::system_error whose text begins with "listen on". Then no socket is left, and no file.
[[nodiscard]] BoundSockets bind_listening(const Address& address, const ListenOptions& options);

}  // namespace onloop::detail
