// A live context moves between owned loops, within one run().
#include "drive.hpp"

namespace onloop::test {
namespace {

class Cutover : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Cutover);

/// Sends a pattern in pieces and reads back what was echoed.
struct Talk {
  explicit Talk(Peer made) : peer(std::move(made)) {}
  void go_on() {
    if (sent < all.size()) sent += peer.send(std::string_view(all).substr(sent, 10'000));
    peer.read();
  }
  [[nodiscard]] bool over() const { return peer.received().size() == all.size(); }
  Peer peer;
  const std::string all = pattern(1'000'000);
  std::size_t sent = 0;
};

TEST_P(Cutover, ToEveryOtherLoopAndBackUnderTraffic) {
  constexpr int kConnections = 5;
  Echo echo;
  Context context{GetParam().make()};
  std::vector<Talk> talks;
  for (int i = 0; i < kConnections; ++i) talks.emplace_back(join(context, echo).peer);
  const std::vector<LoopCase>& loops = all_loops();
  std::size_t moves = 0;
  const Timer mover = context.every(2ms, [&] {
    const std::size_t step = moves++;
    if (step < 2 * loops.size()) context.move_to(step % 2 ? GetParam().make() : loops[step / 2].make());
  });
  const Timer traffic = context.every(1ms, [&] {
    for (Talk& talk : talks) talk.go_on();
  });
  ASSERT_TRUE(run_until(context, [&] {
    bool over = moves >= 2 * loops.size();
    for (Talk& talk : talks) over = over && talk.over();
    return over;
  }));
  for (const Talk& talk : talks) EXPECT_EQ(talk.peer.received(), talk.all);
  EXPECT_GE(context.statistics().cutovers, 2 * loops.size() - 2);
  EXPECT_GT(context.statistics().last_stall, 0ns);
}

TEST_P(Cutover, ATimerThatMovesItInEveryTurnStarvesNothing) {
  const Loop home = context().loop();
  Peer peer = join(context(), echo_).peer;
  peer.send("ping");
  int tasks = 0;
  context().post([&] { ++tasks; });
  std::size_t moves = 0;
  const Timer mover = context().every(1ns, [&] { context().move_to(++moves % 2 ? native().aggregate() : home); });
  EXPECT_TRUE(run_until(context(), [&] { return peer.read(), peer.received() == "ping" && tasks == 1; }));
  EXPECT_GT(moves, 0u);
}

TEST_P(Cutover, TellsWhetherItMoved) {
  Context context{native()};
  const Loop loop = GetParam().make();
  const bool is_there = loop == context.loop();
  EXPECT_EQ(context.move_to(loop), !is_there);
  EXPECT_EQ(context.loop(), loop);
  EXPECT_FALSE(context.move_to(loop));
  EXPECT_EQ(context.loop(), loop);
}

}  // namespace
}  // namespace onloop::test
