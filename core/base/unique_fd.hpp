#pragma once
#include <onloop/descriptor.hpp>

namespace onloop::detail {

using UniqueFd = Descriptor;

}  // namespace onloop::detail
