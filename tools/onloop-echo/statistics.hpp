#pragma once
#include <onloop/context.hpp>

#include <chrono>
#include <string>

namespace echo {

/// The statistics of `whole` without those of a part of it.
[[nodiscard]] onloop::Statistics without(onloop::Statistics whole, const onloop::Statistics& part) noexcept;

/// One JSON object, in one line without its end.
[[nodiscard]] std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop,
                                          std::chrono::duration<double> uptime);

}  // namespace echo
