#pragma once

namespace echo {

/// `onloop-echo ctl PATH COMMAND...`: sends one command to a running server and prints the answer.
///
/// @param argv  The arguments. The first one is "ctl".
/// @return The exit status.
/// @throws tools::UsageError if the command line is wrong, or another std::exception if the server refused the command
///         or the exchange failed.
int run_ctl(int argc, const char* const* argv);

}  // namespace echo
