#pragma once
#include <string>

namespace echo {

/// The address of the control socket at `path`, absolute or relative to the current directory. Throws tools::UsageError
/// for what is no path of a socket.
[[nodiscard]] std::string control_address(const std::string& path);

}  // namespace echo
