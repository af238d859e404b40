// Moves and threads: which thread may move a context, and which may run it afterwards. A Remote loses nothing in a
// move.
#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

class CutoverThreads : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(CutoverThreads);

TEST_P(CutoverThreads, RemotesPostAndWakeThroughEveryMove) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 400;
  std::array<std::vector<int>, kThreads> ran;
  std::atomic<int> wakes_asked{0};
  int wakes_seen_after_last = 0;
  std::atomic<bool> last_wake_asked{false};
  ContextOptions options;
  options.on_wake = [&] {
    if (last_wake_asked) ++wakes_seen_after_last;
  };
  Context context{GetParam().make(), options};
  const std::vector<LoopCase>& loops = all_loops();
  std::size_t moves = 0;
  const Timer mover = context.every(500us, [&] {
    const std::size_t step = moves++;
    context.move_to(step % 2 ? GetParam().make() : loops[step / 2 % loops.size()].make());
  });
  std::vector<std::thread> threads;
  std::atomic<int> over{0};
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i, remote = context.remote()] {
      for (int k = 0; k < kPosts; ++k) {
        EXPECT_TRUE(remote.post([&ran, i, k] { ran[static_cast<std::size_t>(i)].push_back(k); }));
        remote.wake();
        ++wakes_asked;
      }
      if (++over < kThreads) return;
      last_wake_asked = true;
      remote.wake();
    });
  }
  const bool done = static_cast<bool>(run_until(context, [&] {
    std::size_t all = 0;
    for (const auto& each : ran) all += each.size();
    return all == std::size_t{kThreads} * kPosts && wakes_seen_after_last > 0 && moves > 4;
  }));
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(done);
  EXPECT_EQ(wakes_asked, kThreads * kPosts);
  for (const auto& each : ran) {
    ASSERT_EQ(each.size(), std::size_t{kPosts});
    for (int k = 0; k < kPosts; ++k) EXPECT_EQ(each[static_cast<std::size_t>(k)], k) << "each thread's in order";
  }
}

TEST_P(CutoverThreads, AMoveFromAnotherThanTheContextsIsRefused) {
  Context context{GetParam().make()};
  bool refused = false;
  context.post([&] {
    std::thread([&] {
      refused = is(thrown_by([&] { return context.move_to(native()), 0; }).code, std::errc::operation_not_permitted);
    }).join();
    context.stop();
  });
  context.run();
  EXPECT_TRUE(refused);
  EXPECT_EQ(context.statistics().cutovers, 0u);
  EXPECT_EQ(context.loop().name(), GetParam().make().name());
}

// Between dispatch() calls a context stays bound to the thread; a move lets it go.
TEST_P(CutoverThreads, AfterAMoveAnotherThreadMayRunIt) {
  const auto runs_elsewhere = [](Context& context) {
    std::error_code code;
    bool ran = false;
    std::thread([&] {
      code = thrown_by([&] {
               context.post([&] {
                 ran = true;
                 context.stop();
               });
               context.run();
               return 0;
             }).code;
    }).join();
    return ran && !code;
  };
  for (const LoopCase& next : all_loops()) {
    if (next.name == GetParam().name) continue;
    Context context{GetParam().make()};
    if (!context.loop().ops().turn) {
      context.move_to(next.make());
      EXPECT_TRUE(runs_elsewhere(context)) << next.name;
      continue;
    }
    context.dispatch();
    EXPECT_FALSE(runs_elsewhere(context)) << "it was bound";
    context.move_to(next.make());  // outside any callback
    EXPECT_TRUE(runs_elsewhere(context)) << next.name;
    context.move_to(GetParam().make());
    bool moved = false;
    context.post([&] {
      context.move_to(next.make());
      moved = true;
    });
    ASSERT_TRUE(dispatch_until(context, [&] { return moved; }));
    EXPECT_TRUE(runs_elsewhere(context)) << next.name << ", moved in a callback";
  }
}

TEST_P(CutoverThreads, AForkedChildIsRefusedUntilAfterFork) {
  Recorder recorder;
  Context context{GetParam().make()};
  Line line = join(context, recorder);
  turns(context);
  EXPECT_TRUE(in_child([&] {
    EXPECT_TRUE(
        is(thrown_by([&] { return context.move_to(native_poll()), 0; }).code, std::errc::operation_not_permitted));
    context.after_fork(GetParam().make());
    context.move_to(native_poll().aggregate());
    bool ran = false;
    context.post([&] { ran = true; });
    EXPECT_TRUE(run_until(context, [&] { return ran; }));
  }));
  line.peer.send("for the parent");
  EXPECT_TRUE(run_until(context, [&] { return recorder.received == "for the parent"; }));
}

}  // namespace
}  // namespace onloop::test
