#pragma once
#include <onloop/address.hpp>

#include <string>
#include <system_error>

namespace echo {

/// What to do about a listen that failed, to follow the error's own words; empty if there is nothing to say.
/// `replace_stale`: whether --replace-stale was given.
[[nodiscard]] std::string advice(const onloop::Address& address, const std::error_code& error, bool replace_stale);

/// Whether machines other than this one can reach it.
[[nodiscard]] bool reachable_from_outside(const onloop::Address& address) noexcept;

}  // namespace echo
