#pragma once
#include <onloop/options.hpp>

#include "core/base/counted.hpp"

namespace onloop::detail {

class Acceptor;
class Net;

/// What the connections of one listener have in common: the Net, the limits and the listener. A connection that
/// connect() or adopt() has made has an Origin of its own. The connections own the Origin together, and so does the
/// listener until it is severed.
struct Origin final : Counted {
  Origin(Net& its_net, const Limits& its_limits, Acceptor* its_acceptor = nullptr) noexcept;
  ~Origin() override;

  Net& net;
  const Limits limits;
  const Held<Acceptor> acceptor;  // null if no listener has accepted the connection
};

}  // namespace onloop::detail
