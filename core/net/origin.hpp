#pragma once
#include <onloop/options.hpp>

#include "core/base/counted.hpp"

namespace onloop::detail {

class Acceptor;
class Net;

/// What the connections of one listener have in common. A connection by connect() or adopt() has one of its own.
struct Origin final : Counted {
  Origin(Net& its_net, const Limits& its_limits, Acceptor* its_acceptor = nullptr) noexcept;
  ~Origin() override;

  Net& net;
  const Limits limits;
  const Held<Acceptor> acceptor;  // null: there is no listener
};

}  // namespace onloop::detail
