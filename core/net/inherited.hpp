#pragma once
#include <string>
#include <vector>

namespace onloop::detail {

/// The listening sockets that this process was started with and that `name` stands for, a number or a name; see
/// Address. Throws std::system_error, in words, unless there is at least one and each is a listening stream socket.
[[nodiscard]] std::vector<int> inherited_sockets(const std::string& name);

/// Sets what a listener needs of such a socket: it does not block, it is closed on exec, and it has TCP_NODELAY.
/// @throws std::system_error whose text begins with `what`.
void prepare_inherited(int fd, const std::string& what);

}  // namespace onloop::detail
