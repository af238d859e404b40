#include "core/net/origin.hpp"

#include "core/net/acceptor.hpp"

namespace onloop::detail {

Origin::Origin(Net& its_net, const Limits& its_limits, Acceptor* its_acceptor) noexcept
    : net(its_net), limits(its_limits), acceptor(its_acceptor) {}

Origin::~Origin() = default;

}  // namespace onloop::detail
