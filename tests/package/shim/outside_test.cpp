// This is all that the author of a shim has to write to test it with the conformance kit.
#include <onloop/conformance.hpp>

extern "C" const onloop_ops onloop_shim_outside;

namespace {

using namespace onloop::conformance;

onloop::Loop outside() noexcept {
  return onloop_shim_outside;
}

const std::vector<ProviderCase> kOps{make_case<Owned>("outside", onloop::Hosting::direct, &outside)};
const std::vector<ProviderCase> kContexts{make_case<Owned>("outside_direct", onloop::Hosting::direct, &outside),
                                          make_case<Owned>("outside_aggregate", onloop::Hosting::aggregate, &outside)};
ONLOOP_CONFORMANCE_OPS(outside, kOps);
ONLOOP_CONFORMANCE_CONTEXT(outside, kContexts);

}  // namespace
