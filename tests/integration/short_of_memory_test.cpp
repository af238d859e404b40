// This program gets no memory at certain moments. It must not end, and an operation that fails must have no effect. The
// program replaces the allocation functions, for itself and for everything that is linked into it.
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "drive.hpp"
#include "replaced_new.hpp"

namespace {

thread_local int allocations_left = -1;  // negative: no limit
thread_local int refused = 0;

void* allocate(std::size_t size) noexcept {
  if (allocations_left == 0) {
    ++refused;
    return nullptr;
  }
  if (allocations_left > 0) --allocations_left;
  return std::malloc(size ? size : 1);
}

}  // namespace

namespace onloop::test {
namespace {

/// While an object of this class lives, this thread gets only this number of allocations.
class Memory {
 public:
  explicit Memory(int allocations) noexcept {
    refused = 0;
    allocations_left = allocations;
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { allocations_left = -1; }
};

/// All loops except the scripted ones. A scripted loop needs memory to remove a watch, because it keeps the dead
/// watches.
std::vector<LoopCase> loops_that_are_real() {
  std::vector<LoopCase> loops;
  for (const LoopCase& loop : all_loops()) {
    if (!loop.scripted) loops.push_back(loop);
  }
  return loops;
}

class ShortOfMemory : public LoopTest {};
ONLOOP_ON_LOOPS(ShortOfMemory, loops_that_are_real());

TEST_P(ShortOfMemory, AContextEndsWithoutAny) {
  Echo echo;
  int destroyed = 0;
  struct Count {
    int& count;
    explicit Count(int& counted) : count(counted) {}
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    ~Count() { ++count; }
  };
  constexpr int kTasks = 1000;
  auto context = std::make_unique<Context>(GetParam().make());
  std::vector<Peer> peers;
  std::vector<Timer> timers;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(join(*context, echo).peer);
    timers.push_back(context->timer(1h, [] {}));
  }
  context->listen("127.0.0.1:0", echo);
  const Signal signal = context->on_signal(SIGUSR1, [] {});
  turns(*context);
  const Remote remote = context->remote();
  for (int i = 0; i < kTasks; ++i) {
    context->post([count = std::make_unique<Count>(destroyed)] {});
    remote.post([count = std::make_unique<Count>(destroyed)] {});
  }
  {
    const Memory none(0);
    context.reset();
  }
  EXPECT_EQ(destroyed, 2 * kTasks);
  EXPECT_EQ(refused, 0);
  for (Peer& peer : peers) {
    peer.read();
    EXPECT_TRUE(peer.over());
  }
}

// A move that fails for want of memory has not happened.
TEST_P(ShortOfMemory, AMoveIsMadeWhollyOrNotAtAll) {
  const LoopCase& other = all_loops()[GetParam().name == all_loops().front().name ? 1 : 0];
  for (const auto& [last, next] : {std::pair{other, GetParam()}, std::pair{GetParam(), other}}) {
    Echo echo;
    Context context{last.make()};
    Line line = join(context, echo);
    turns(context);
    bool moved = false;
    for (int allocations = 0; !moved && allocations < 100; ++allocations) {
      const std::uint64_t before = context.statistics().cutovers;
      const Loop loop = next.make();
      try {
        const Memory some(allocations);
        context.move_to(loop);
      } catch (const std::bad_alloc&) {
      } catch (const std::system_error& error) {
        EXPECT_TRUE(is(error.code(), std::errc::not_enough_memory)) << error.what();
      }
      moved = refused == 0;
      EXPECT_EQ(context.statistics().cutovers - before, moved ? 1u : 0u) << allocations << " allocations";
      const std::string sent = std::to_string(allocations);
      const std::string all = line.peer.received() + sent;
      line.peer.send(sent);
      ASSERT_TRUE(run_until(context, [&] { return line.peer.read(), line.peer.received() == all; })) << allocations;
    }
    EXPECT_TRUE(moved) << "to " << next.name;
  }
}

}  // namespace
}  // namespace onloop::test
