#pragma once
#include <cstdint>

namespace tools {

/// Raises the soft limit on open files to the hard one, and returns what is in force then. The soft limit is low (1,024
/// as a rule) for the sake of programs that use select(2), which can't go beyond.
std::uint64_t raise_open_file_limit() noexcept;

}  // namespace tools
