#pragma once
#include <onloop/address.hpp>

#include <string>

namespace echo {

/// The address of the control socket at `path`, which may be absolute or relative to the current directory.
///
/// @throws tools::UsageError if `path` cannot be the path of a socket.
[[nodiscard]] onloop::Address control_address(const std::string& path);

/// Checks that this user or root listens at the other end of `socket`. Anybody who can write to the directory of a
/// socket can put another socket there, so the caller must check this before it sends or reads anything.
///
/// @return An empty text if it is this user or root. Otherwise a message that says who listens there.
[[nodiscard]] std::string stranger_at(int socket);

}  // namespace echo
