#pragma once
#include <onloop/descriptor.hpp>

#include <string>

namespace echo {

/// Asks the server with the control socket at `path` to hand over, and waits until it agrees. This takes ten seconds at
/// most.
///
/// If the server belongs neither to this user nor to root, nothing is sent to it and nothing is read from it.
///
/// @return The descriptor of the conversation, which continues with onloop::import_context().
/// @throws std::runtime_error if the server does not agree, does not answer, or is not there.
[[nodiscard]] onloop::Descriptor ask_for_takeover(const std::string& path);

}  // namespace echo
