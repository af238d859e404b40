#pragma once
#include <string>
#include <vector>

namespace onloop::detail {

/// Finds the listening sockets that this process was started with, as in sd_listen_fds(3).
/// @param name The number of a descriptor, or a name from LISTEN_FDNAMES. See Address.
/// @return The descriptors, at least one. The caller does not own them yet.
/// @throws std::system_error with a message that says what is wrong, if there is no such descriptor, or if one of them
/// is not a listening stream socket.
[[nodiscard]] std::vector<int> inherited_sockets(const std::string& name);

/// Sets what a listener needs of such a socket: it does not block, it is closed on exec, and it has TCP_NODELAY.
/// @throws std::system_error whose text begins with `what`.
void prepare_inherited(int fd, const std::string& what);

}  // namespace onloop::detail
