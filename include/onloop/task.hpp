#pragma once
#include <onloop/function.hpp>

namespace onloop {

/// A callable without arguments and result, which the library runs at most once. Where the library takes a Task, an
/// empty one is ignored.
using Task = Function<void()>;

}  // namespace onloop
