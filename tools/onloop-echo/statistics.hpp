#pragma once
#include <onloop/context.hpp>

#include <chrono>
#include <string>

namespace echo {

/// One JSON object, in one line without its end.
[[nodiscard]] std::string statistics_json(const onloop::Statistics& done, const onloop::Loop& loop,
                                          std::chrono::duration<double> uptime);

}  // namespace echo
