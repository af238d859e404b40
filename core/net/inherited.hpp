#pragma once
#include <string>
#include <vector>

namespace onloop::detail {

/// The listening sockets that this process was started with and that `name` stands for, a number or a name; see
/// Address. Throws std::system_error, in words, unless there is at least one and each is a listening stream socket.
[[nodiscard]] std::vector<int> inherited_sockets(const std::string& name);

}  // namespace onloop::detail
