#pragma once
#include <string>

namespace echo {

/// The address of the control socket at `path`, absolute or relative to the current directory. Throws tools::UsageError
/// for what is no path of a socket.
[[nodiscard]] std::string control_address(const std::string& path);

/// Who listens at the other end of `socket`, if that is neither this user nor root; empty: it is one of them. Whoever
/// can write to the directory can put a socket of his own there. To be asked before anything is sent or read.
[[nodiscard]] std::string stranger_at(int socket);

}  // namespace echo
