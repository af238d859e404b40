#pragma once
#include "onloop-echo/control.hpp"

namespace echo {

class Service;

/// What `service` can be told through its control socket.
[[nodiscard]] Control::Commands commands_for(Service& service);

}  // namespace echo
