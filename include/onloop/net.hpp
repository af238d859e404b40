#pragma once
/// @file
/// The former name of onloop/node/net.hpp. This header goes with version 0.2.
#include <onloop/node/net.hpp>

namespace onloop {
namespace net = node;
}
