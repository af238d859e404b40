#pragma once
#include <onloop/context.hpp>

#include <chrono>
#include <cstddef>
#include <string>

namespace echo {

/// The statistics of `whole` without those of `part`, which is a part of it.
[[nodiscard]] onloop::Statistics without(onloop::Statistics whole, const onloop::Statistics& part) noexcept;

/// The statistics of two contexts that serve together. Numbers are added. A cutover happens to both contexts at once,
/// so of the numbers of cutovers the higher one counts, and of the stalls the longer one.
[[nodiscard]] onloop::Statistics together(onloop::Statistics one, const onloop::Statistics& other) noexcept;

/// The statistics as one JSON object in one line, without a newline.
[[nodiscard]] std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop, std::size_t workers,
                                          std::chrono::duration<double> uptime);

}  // namespace echo
