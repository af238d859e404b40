#pragma once
#include <onloop/context.hpp>

#include <chrono>
#include <cstddef>
#include <string>

namespace echo {

/// The statistics of `whole` without those of a part of it.
[[nodiscard]] onloop::Statistics without(onloop::Statistics whole, const onloop::Statistics& part) noexcept;

/// The statistics of two contexts that do the same together: sums, but of what happens to both at once, the cutovers,
/// the higher number and the longer stall.
[[nodiscard]] onloop::Statistics together(onloop::Statistics one, const onloop::Statistics& other) noexcept;

/// One JSON object, in one line without its end.
[[nodiscard]] std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop, std::size_t workers,
                                          std::chrono::duration<double> uptime);

}  // namespace echo
