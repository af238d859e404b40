// Tests of the scripted loop itself: it notices a guest that breaks the contract. Tests of the core on it: any slot
// call may fail, and the core survives.

#include "support/scripted_loop.hpp"

#include <fcntl.h>

#include <cstdint>
#include <thread>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

using test::CleanTest;
using test::Script;

/// A guest that calls the slots itself, and calls them wrongly.
struct Clumsy {
  Script script;
  Loop loop = script.loop();
  onloop_loop* attached = nullptr;
  Pair pair = socket_pair();
  std::function<void()> on_ready;

  Clumsy() {
    const onloop_guest guest{.version = ONLOOP_OPS_VERSION,
                             .struct_size = sizeof(onloop_guest),
                             .context = this,
                             .on_ready = [](void* self, std::uint32_t) { static_cast<Clumsy*>(self)->on_ready(); },
                             .on_deadline = [](void*) {}};
    EXPECT_EQ(ops().attach(&guest, nullptr, &attached), 0);
  }
  [[nodiscard]] const onloop_ops& ops() const { return loop.ops(); }
  onloop_watch* watch(int fd) {
    onloop_watch* watch = nullptr;
    EXPECT_EQ(ops().watch_add(attached, fd, ONLOOP_WRITE, this, &watch), 0);
    return watch;
  }
};

void breaks(const char* words, void (*misuse)(Clumsy&)) {
  EXPECT_DEATH(
      {
        Clumsy guest;
        misuse(guest);
        ::_exit(0);
      },
      words);
}

}  // namespace

using ScriptedLoopDeathTest = CleanTest;

TEST_F(ScriptedLoopDeathTest, catches_a_guest_that_breaks_the_contract) {
  breaks("watches a descriptor twice", [](Clumsy& guest) {
    guest.watch(guest.pair.near.get());
    guest.watch(guest.pair.near.get());
  });
  breaks("watches what is not an open descriptor", [](Clumsy& guest) { guest.watch(-1); });
  breaks("closed a descriptor before it removed the watch", [](Clumsy& guest) {
    onloop_watch* watch = guest.watch(guest.pair.near.get());
    guest.pair.near.reset();
    guest.ops().watch_remove(guest.attached, watch);
  });
  breaks("has another file under a watched descriptor", [](Clumsy& guest) {
    onloop_watch* watch = guest.watch(guest.pair.near.get());
    ::dup2(STDERR_FILENO, guest.pair.near.get());
    guest.ops().watch_remove(guest.attached, watch);
  });
  breaks("closed a descriptor that is watched", [](Clumsy& guest) {
    guest.watch(guest.pair.near.get());
    guest.pair.near.reset();
    guest.ops().turn(guest.attached, 0);
  });
  breaks("uses a watch that it removed", [](Clumsy& guest) {
    onloop_watch* watch = guest.watch(guest.pair.near.get());
    guest.ops().watch_remove(guest.attached, watch);
    guest.ops().watch_set(guest.attached, watch, ONLOOP_READ);
  });
  breaks("detaches while it still has a watch", [](Clumsy& guest) {
    guest.watch(guest.pair.near.get());
    guest.ops().detach(guest.attached);
  });
  breaks("calls a slot after detach", [](Clumsy& guest) {
    guest.ops().detach(guest.attached);
    guest.ops().deadline_set(guest.attached, 0);
  });
  breaks("uses a loop that it abandoned", [](Clumsy& guest) {
    guest.ops().abandon(guest.attached);
    guest.watch(guest.pair.near.get());
  });
  breaks("calls a slot from another thread", [](Clumsy& guest) {
    guest.watch(guest.pair.near.get());
    guest.on_ready = [&guest] { std::thread{[&guest] { guest.ops().deadline_set(guest.attached, 0); }}.join(); };
    guest.ops().turn(guest.attached, 0);
  });
  breaks("is attached to a script that is being destroyed", [](Clumsy& guest) { guest.script.~Script(); });
}

// Every failure is reported: the call throws, or the connection closes with the error, or on_error gets the error.
// Afterwards everything can still be destroyed.
TEST(FailingSlot, is_reported_and_leaves_nothing_behind) {
  struct Writer : Protocol {
    void on_data(Connection& connection, std::span<const std::byte>) override {
      connection.write(std::string(1 << 20, 'w'));  // more than the kernel accepts, so the interest must get WRITE
    }
    void on_drain(Connection&) override { drained = true; }
    void on_close(Connection&, std::error_code error) override {
      if (is(error, std::errc::not_enough_memory)) ++reports;
    }
    bool drained = false;
    int reports = 0;
  };
  int call = 0;
  for (bool failed = true; failed && call < 100; ++call) {
    const test::ProcessState before = test::ProcessState::take();
    {
      Script script;
      script.shuffle = false;
      script.fail_at_call = call;
      Writer protocol;
      int reports = 0;
      bool ticked = false;
      Pair pair = socket_pair();
      try {
        ContextOptions options;
        options.on_error = [&](std::error_code error, std::string_view) {
          EXPECT_TRUE(is(error, std::errc::not_enough_memory)) << error.message();
          ++reports;
        };
        Context context{script.loop(), options};
        context.adopt(pair.near.get(), protocol);
        static_cast<void>(pair.near.release());
        context.listen("127.0.0.1:0", protocol);
        const Timer timer = context.timer(1ms, [&] { ticked = true; });
        ASSERT_TRUE(put(pair.far.get()));
        const auto end = monotonic_ns() + 500'000'000;
        while ((!ticked || !protocol.drained) && reports + protocol.reports == 0 && monotonic_ns() < end) {
          context.dispatch();
          if (ticked) drain(pair.far.get());
        }
      } catch (const std::system_error& error) {
        EXPECT_TRUE(is(error.code(), std::errc::not_enough_memory)) << error.what();
        EXPECT_TRUE(pair.near.get() < 0 || ::fcntl(pair.near.get(), F_GETFD) >= 0) << "adopt took it and threw";
        ++reports;
      }
      failed = script.failures > 0;
      EXPECT_EQ(reports + protocol.reports > 0, failed) << "call " << call;
      EXPECT_TRUE(failed || (ticked && protocol.drained));
      EXPECT_EQ(script.attached + script.live_watches, 0);
    }
    EXPECT_EQ(before.difference_to(test::ProcessState::take()), "") << "call " << call;
  }
  EXPECT_GT(call, 5);
  EXPECT_LT(call, 100);
}

// The loop fails to remove an interest of a paused connection, so it would go on reporting readiness. The connection is
// closed.
TEST(FailingSlot, that_takes_an_interest_away_closes_the_connection) {
  struct Paused : Protocol {
    void on_open(Connection& connection) override { connection.pause_reading(); }
    void on_data(Connection&, std::span<const std::byte>) override {}
    void on_close(Connection&, std::error_code error) override { closed_with = error; }
    std::error_code closed_with;
  } protocol;
  Script script;
  script.shuffle = false;
  Pair pair = socket_pair();
  Context context{script.loop()};
  context.adopt(pair.near.release(), protocol);
  context.dispatch();
  ASSERT_TRUE(put(pair.far.get()));
  script.fail_lowering = true;
  for (int turn = 0; turn < 10 && !protocol.closed_with; ++turn) context.dispatch();
  EXPECT_EQ(script.failures, 1);
  EXPECT_TRUE(is(protocol.closed_with, std::errc::not_enough_memory)) << protocol.closed_with.message();
  EXPECT_EQ(context.statistics().connections, 0u);
}

}  // namespace onloop::conformance
