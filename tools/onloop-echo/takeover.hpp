#pragma once
#include <string>

namespace echo {

/// Asks the server whose control socket is at `path` to hand itself over, and waits for its consent. Returns the
/// descriptor of that conversation, which goes on with onloop::import_context(). A server of another user than this one
/// or root is told nothing, and nothing is read of it. Takes ten seconds at most. Throws std::runtime_error.
[[nodiscard]] int ask_for_takeover(const std::string& path);

}  // namespace echo
