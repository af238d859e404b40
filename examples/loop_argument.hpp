#pragma once
// Reads the loop on which an example runs from its command line.
#include <onloop/loop_by_name.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

namespace example {

/// @param argument "NAME", "NAME:direct" or "NAME:aggregate".
inline onloop::Loop loop_of(std::string_view argument) {
  const std::size_t colon = argument.find(':');
  const onloop::Loop loop = onloop::loop_by_name(argument.substr(0, colon));
  if (colon == std::string_view::npos) return loop;
  const std::string_view hosting = argument.substr(colon + 1);
  if (hosting == "direct") return loop.direct();
  if (hosting == "aggregate") return loop.aggregate();
  throw std::runtime_error("the hosting is direct or aggregate, not \"" + std::string(hosting) + "\"");
}

}  // namespace example
