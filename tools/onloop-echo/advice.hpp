#pragma once
#include <onloop/address.hpp>

#include <string>
#include <system_error>

namespace echo {

/// Advice for a listen that failed. It is printed after the message of the error.
///
/// @param replace_stale  True if --replace-stale was given.
/// @return What to do, or an empty text if there is no advice.
[[nodiscard]] std::string advice(const onloop::Address& address, const std::error_code& error, bool replace_stale);

/// True if other machines may be able to reach this address: it is an IP address, and not a loopback one.
[[nodiscard]] bool reachable_from_outside(const onloop::Address& address) noexcept;

}  // namespace echo
