#pragma once
#include "onloop-echo/control.hpp"

namespace echo {

class Service;

/// The commands that the control socket of `service` accepts.
[[nodiscard]] Control::Commands commands_for(Service& service);

}  // namespace echo
