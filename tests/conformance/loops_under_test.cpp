// Runs every case of the kit on the loops of this library and on the scripted loops of its tests.

#include "conformance/application.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {

void ByDescriptor::iterate(Context* context, std::chrono::nanoseconds max_wait) {
  if (context) {
    pollfd guest{context->pollable_fd(), POLLIN, 0};
    const bool forever = max_wait < 0ns && !busy();
    const auto wait = busy() ? 0 : std::chrono::ceil<std::chrono::milliseconds>(max_wait).count();
    const int ready = ::poll(&guest, 1, forever ? -1 : static_cast<int>(wait));
    if (ready == 1) context->dispatch();
  }
  serve_application();
}

namespace {

using test::Script;

void misbehave(Script& script) {
  script.spurious = script.early_deadlines = script.late_deadlines = true;
}

// The cases on the bare ops test only what every shim must do. So these loops have no spurious calls and no early
// deadlines.
const std::vector<ProviderCase> kOps{
    make_case<Owned>("native", Hosting::direct, &native),
    make_case<Owned>("native_poll", Hosting::direct, &native_poll),
    make_case<Scripted>(
        "scripted_shuffled", Hosting::direct, +[](Script& script) { script.seed = 21; }),
    make_case<Scripted>(
        "scripted_in_order", Hosting::direct, +[](Script& script) { script.shuffle = false; }),
    make_case<Scripted>(
        "scripted_one_at_a_time", Hosting::direct,
        +[](Script& script) {
          script.seed = 22;
          script.batch = 1;
          script.late_deadlines = true;
        }),
    make_case<Scripted>(
        "scripted_run_and_stop", Hosting::direct,
        +[](Script& script) {
          script.seed = 23;
          script.with_turn_slot = false;
        }),
    make_case<ScriptedApplication>(
        "scripted_foreign", Hosting::direct, +[](Script& script) { script.seed = 24; }),
};

const std::vector<ProviderCase> kContexts{
    make_case<Owned>("native", Hosting::direct, &native),
    make_case<ByDescriptor>("native_by_descriptor", &native),
    make_case<Owned>("native_poll", Hosting::direct, &native_poll),
    make_case<Scripted>(
        "scripted_shuffled", Hosting::direct, +[](Script& script) { script.seed = 31; }),
    make_case<Scripted>(
        "scripted_misbehaving", Hosting::direct,
        +[](Script& script) {
          script.seed = 32;
          misbehave(script);
        }),
    make_case<Scripted>(
        "scripted_one_at_a_time", Hosting::direct,
        +[](Script& script) {
          script.seed = 33;
          script.batch = 1;
          misbehave(script);
        }),
    make_case<Scripted>(
        "scripted_without_deadlines", Hosting::direct,
        +[](Script& script) {
          script.seed = 34;
          script.with_deadline_slot = script.with_keepalive_slot = false;
          misbehave(script);
        }),
    make_case<Scripted>(
        "scripted_run_and_stop", Hosting::direct,
        +[](Script& script) {
          script.seed = 35;
          script.with_turn_slot = false;
          misbehave(script);
        }),
    make_case<ScriptedApplication>(
        "scripted_foreign", Hosting::direct, +[](Script& script) { script.seed = 36; }),
    make_case<ScriptedApplication>(
        "scripted_foreign_misbehaving", Hosting::direct,
        +[](Script& script) {
          script.seed = 37;
          misbehave(script);
        }),
    make_case<Owned>("native_aggregate", Hosting::aggregate, &native),
    make_case<Owned>("native_poll_aggregate", Hosting::aggregate, &native_poll),
    make_case<Scripted>(
        "scripted_aggregate", Hosting::aggregate,
        +[](Script& script) {
          script.seed = 38;
          misbehave(script);
        }),
    make_case<Scripted>(
        "scripted_run_and_stop_aggregate", Hosting::aggregate,
        +[](Script& script) {
          script.seed = 39;
          script.with_turn_slot = false;
          misbehave(script);
        }),
    make_case<ScriptedApplication>(
        "scripted_foreign_aggregate", Hosting::aggregate,
        +[](Script& script) {
          script.seed = 40;
          misbehave(script);
        }),
};

}  // namespace

ONLOOP_CONFORMANCE_OPS(Loops, kOps);
ONLOOP_CONFORMANCE_CONTEXT(Loops, kContexts);

}  // namespace onloop::conformance
