// Compares the same session, event by event, on the loop under test and on the native poll loop. The trace of the
// native poll loop is the expected one.

#include "conformance/fixtures.hpp"
#include "conformance/session.hpp"

namespace onloop::conformance {

TEST_P(OnContext, C86_the_same_events_in_the_same_order_as_on_the_native_poll_loop) {
  constexpr int kQuiet = 40;  // enough for a loop that serves one event in each iteration, and serves it late
  Session oracle{native_poll(), [](Context& context) { context.dispatch(); }, kQuiet};
  Session under_test{loop(), [this](Context& context) { turns(context, 1); }, kQuiet};
  const Trace expected = oracle.play();
  EXPECT_EQ(expected.back(), "f's peer: ");
  EXPECT_EQ(under_test.play(), expected);
}

}  // namespace onloop::conformance
