#pragma once

namespace echo {

/// `onloop-echo ctl PATH COMMAND...`: tells a running server one command and prints what it answers. The arguments
/// begin with "ctl". Returns the exit status; throws tools::UsageError, and std::exception for what was refused or
/// failed.
int run_ctl(int argc, const char* const* argv);

}  // namespace echo
