#pragma once
/// @file
/// The former name of onloop/node/phases.hpp. This header goes with version 0.2.
#include <onloop/node/phases.hpp>

namespace onloop {
namespace net = node;
}
