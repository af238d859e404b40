#pragma once
#include <cstdint>

namespace tools {

/// Raises the soft limit on open files to the hard limit.
///
/// The soft limit is usually low (1,024), for programs that use select(2), which cannot handle higher numbers.
///
/// @return The limit that is now in force, or UINT64_MAX if it cannot be read.
std::uint64_t raise_open_file_limit() noexcept;

}  // namespace tools
