// The bytes that on_data is given stay as they are until it returns, whatever else runs meanwhile.
#include "drive.hpp"

namespace onloop::test {
namespace {

class Span : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(Span);
class NestedSpan : public LoopTest {};
ONLOOP_ON_LOOPS(NestedSpan, loops_with_dispatch());

TEST_P(NestedSpan, KeepsItsBytesWhileANestedDispatchServesAnotherConnection) {
  const std::string outer_bytes = pattern(20'000);
  const std::string inner_bytes(20'000, '#');
  Recorder outer;
  Recorder inner;
  bool same = true;
  bool nested = false;
  Context context{GetParam().make()};
  Line first = join(context, outer);
  Line second = join(context, inner);
  turns(context);
  outer.when_data = [&](Connection&, std::string_view data) {
    const std::string before(data);
    const std::size_t inner_before = inner.received.size();
    second.peer.send(inner_bytes);
    for (int i = 0; i < 100 && inner.received.size() == inner_before; ++i) context.dispatch();
    nested = nested || inner.received.size() > inner_before;
    same = same && data == before;
  };
  first.peer.send(outer_bytes);
  ASSERT_TRUE(run_until(context, [&] { return outer.received.size() == outer_bytes.size(); }));
  EXPECT_TRUE(nested) << "the nested dispatch served nobody";
  EXPECT_TRUE(same) << "the nested frame read into the outer one's bytes";
  EXPECT_TRUE(outer.received == outer_bytes);
}

TEST_P(Span, OfAConnectionThatIsAbortedAndDestroyedInsideStaysReadable) {
  const std::string bytes = pattern(20'000);
  Context context{GetParam().make()};
  auto recorder = std::make_unique<Recorder>();
  std::string seen;
  recorder->when_data = [&](Connection& connection, std::string_view data) {
    connection.abort();
    recorder.reset();
    seen = data;
  };
  Line line = join(context, *recorder);
  line.peer.send(bytes);
  ASSERT_TRUE(run_until(context, [&] { return !seen.empty(); }));
  EXPECT_EQ(seen, bytes.substr(0, seen.size()));
}

TEST_P(Span, OfAContextThatIsDestroyedInsideStaysReadable) {
  const std::string bytes = pattern(20'000);
  Recorder recorder;
  std::string seen;
  auto context = std::make_unique<Context>(GetParam().make());
  recorder.when_data = [&](Connection&, std::string_view data) {
    context.reset();
    seen = data;
  };
  Line line = join(*context, recorder);
  line.peer.send(bytes);
  const Timer guard = context->timer(10s, [&] { context->stop(); });
  context->run();
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen, bytes.substr(0, seen.size()));
}

TEST_P(NestedSpan, AConnectionIsNotReenteredByANestedDispatch) {
  Recorder recorder;
  int depth = 0;
  int deepest = 0;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  recorder.when_data = [&](Connection&, std::string_view) {
    deepest = std::max(deepest, ++depth);
    if (recorder.datas < 5) line.peer.send("more");
    for (int i = 0; i < 20; ++i) context.dispatch();
    --depth;
  };
  line.peer.send("first");
  ASSERT_TRUE(run_until(context, [&] { return recorder.received.size() >= 5 + 4 * 4; }));
  EXPECT_EQ(deepest, 1);
  EXPECT_EQ(recorder.received, "firstmoremoremoremore");
}

TEST_P(NestedSpan, TheOuterConnectionMayBeClosedFromTheNestedOne) {
  Recorder outer;
  Recorder inner;
  bool unchanged = false;
  Context context{GetParam().make()};
  Line first = join(context, outer);
  Line second = join(context, inner);
  turns(context);
  int closes_inside = 0;
  inner.when_data = [&](Connection&, std::string_view) { first.connection.abort(); };
  outer.when_data = [&](Connection& connection, std::string_view data) {
    second.peer.send("x");
    for (int i = 0; i < 100; ++i) context.dispatch();
    closes_inside = outer.closes;
    unchanged = data == "hello" && connection.fd() == -1;
  };
  first.peer.send("hello");
  ASSERT_TRUE(run_until(context, [&] { return outer.closes == 1; }));
  EXPECT_TRUE(unchanged);
  EXPECT_EQ(closes_inside, 0) << "on_close came while on_data was on the stack";
}

TEST_P(Span, IsNeverLongerThanTheReadBuffer) {
  ContextOptions options;
  options.read_buffer = 1000;
  Recorder recorder;
  std::size_t longest = 0;
  recorder.when_data = [&](Connection&, std::string_view data) { longest = std::max(longest, data.size()); };
  Context context{GetParam().make(), options};
  Line line = join(context, recorder);
  const std::string all = pattern(50'000);
  line.peer.send(all);
  ASSERT_TRUE(run_until(context, [&] { return recorder.received.size() == all.size(); }));
  EXPECT_EQ(longest, 1000u);
  EXPECT_TRUE(recorder.received == all);
}

}  // namespace
}  // namespace onloop::test
