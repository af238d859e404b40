// A context moves at every possible moment, each in a run of its own. A moment comes after each slot call and each
// up-call, in the callback that makes the slot call or gets the up-call, or else in the next callback. Neither the
// context nor its peers may notice the move.

#include <algorithm>
#include <iterator>

#include "conformance/fixtures.hpp"
#include "conformance/session.hpp"
#include "support/scripted_loop.hpp"

namespace onloop::conformance {
namespace {

using test::Script;

/// A move from one loop to another. `home` is the script of the first loop. `away` is the script of the second loop, if
/// it is a scripted loop.
struct Way {
  const char* name;
  Loop (*from)(Script& home);
  Loop (*to)(Script& home, Script& away);
};
constexpr Way kWays[] = {
    {"owned_to_owned", [](Script& home) { return home.loop(); }, [](Script&, Script& away) { return away.loop(); }},
    {"owned_to_foreign", [](Script& home) { return home.loop(); },
     [](Script&, Script& away) { return away.foreign().direct(); }},
    {"owned_to_native", [](Script& home) { return home.loop(); }, [](Script&, Script&) { return native(); }},
    {"foreign_to_foreign", [](Script& home) { return home.foreign().direct(); },
     [](Script&, Script& away) { return away.foreign().direct(); }},
    {"foreign_to_owned_aggregate", [](Script& home) { return home.foreign().direct(); },
     [](Script&, Script& away) { return away.loop().aggregate(); }},
    {"foreign_to_its_aggregate", [](Script& home) { return home.foreign().direct(); },
     [](Script& home, Script&) { return home.foreign().aggregate(); }},
    {"aggregate_to_foreign", [](Script& home) { return home.foreign().aggregate(); },
     [](Script&, Script& away) { return away.foreign().direct(); }},
    {"aggregate_to_aggregate", [](Script& home) { return home.foreign().aggregate(); },
     [](Script&, Script& away) { return away.foreign().aggregate(); }},
    {"aggregate_to_native", [](Script& home) { return home.foreign().aggregate(); },
     [](Script&, Script&) { return native(); }},
};
void PrintTo(const Way& way, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << way.name;
}

constexpr int kQuiet = 5;

void turn(Context& context) {
  if (auto* script = static_cast<Script*>(context.loop().foreign())) {
    script->run_once(0ns);
  } else {
    context.dispatch();
  }
}

/// One session on scripted loops, in which an action happens at a given moment.
struct Play {
  explicit Play(const Way& its_way) : way(its_way), session(way.from(home), &turn, kQuiet) {
    home.shuffle = away.shuffle = false;
  }

  /// The number of slot calls and up-calls so far on the loop where the session begins.
  [[nodiscard]] int points() const { return home.slot_calls + static_cast<int>(home.up_calls); }
  /// Plays the session. `action` runs at the first moment after this number of points.
  Trace play(int point, std::function<void(Context&)> action) {
    session.at_moment = [this, point, action = std::move(action)](Context& context) {
      last_point = points();
      if (done || last_point < point) return;
      done = true;
      action(context);
    };
    return session.play();
  }
  /// True if the context has left nothing on `away`.
  [[nodiscard]] bool away_is_empty() const { return away.attached == 0 && away.live_watches == 0; }

  const Way& way;
  Script home, away;
  Session session;
  bool done = false;
  int last_point = 0;  // points() at the last moment
};

/// A posted task runs at the end of its turn. A move ends the turn early, so timers that are due may then run before or
/// after the task. This puts the task at the end.
Trace in_defined_order(const Trace& trace) {
  const std::string loose = "task before the timers";
  Trace ordered;
  std::remove_copy(trace.begin(), trace.end(), std::back_inserter(ordered), loose);
  if (std::count(trace.begin(), trace.end(), loose) == 1) ordered.push_back(loose);
  return ordered;
}

class CutoverMoments : public test::CleanTestWithParam<Way> {
 protected:
  void SetUp() override {
    CleanTestWithParam::SetUp();
    Play undisturbed{GetParam()};
    expected_ = in_defined_order(undisturbed.play(0, [](Context&) {}));
    ASSERT_GT(expected_.size(), 60u);
    points_ = undisturbed.last_point;
    ASSERT_GT(points_, GetParam().from(undisturbed.home).hosting() == Hosting::direct ? 60 : 30);
  }
  void expect_undisturbed(Play& run, const Trace& trace, int point) const {
    EXPECT_TRUE(run.done) << "point " << point << " did not come";
    EXPECT_EQ(in_defined_order(trace), expected_) << "point " << point << " of " << points_;
    EXPECT_EQ(run.home.attached + run.home.live_watches, 0);
    EXPECT_TRUE(run.away_is_empty());
  }

  Trace expected_;
  int points_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Each, CutoverMoments, ::testing::ValuesIn(kWays),
                         [](const auto& way) { return way.param.name; });

}  // namespace

TEST_P(CutoverMoments, moved_at_each_the_session_is_the_same) {
  for (int point = 1; point <= points_ && !HasFailure(); ++point) {
    Play run{GetParam()};
    const Loop next = GetParam().to(run.home, run.away);
    const Trace trace = run.play(point, [&](Context& context) {
      context.move_to(next);
      EXPECT_TRUE(same_loop(context.loop(), next));
      EXPECT_EQ(context.statistics().cutovers, 1u);
    });
    expect_undisturbed(run, trace, point);
  }
}

TEST_P(CutoverMoments, moved_and_moved_back_at_each_the_session_is_the_same) {
  for (int point = 1; point <= points_ && !HasFailure(); ++point) {
    Play run{GetParam()};
    const Trace trace = run.play(point, [&](Context& context) {
      context.move_to(GetParam().to(run.home, run.away));
      context.move_to(GetParam().from(run.home));
      EXPECT_TRUE(run.away_is_empty());
    });
    expect_undisturbed(run, trace, point);
  }
}

// At each moment, the move fails at its first step, then at its second step, and so on. The context stays on its loop.
TEST_P(CutoverMoments, where_each_step_of_a_move_fails_it_stays_and_the_session_is_the_same) {
  for (int point = 1; point <= points_ && !HasFailure(); ++point) {
    int steps = 0;
    {
      Play counting{GetParam()};
      static_cast<void>(counting.play(point, [&](Context& context) {
        const int before = counting.away.fallible_calls;
        context.move_to(GetParam().to(counting.home, counting.away));
        steps = counting.away.fallible_calls - before;
      }));
    }
    if (steps == 0) return;  // the second loop is not a scripted one
    Play run{GetParam()};
    const Trace trace = run.play(point, [&](Context& context) {
      const Loop last = context.loop();
      for (int step = 0; step < steps; ++step) {
        run.away.fail_at_call = run.away.fallible_calls + step;
        EXPECT_TRUE(
            is(error_of([&] { context.move_to(GetParam().to(run.home, run.away)); }), std::errc::not_enough_memory));
        EXPECT_TRUE(same_loop(context.loop(), last));
        EXPECT_TRUE(run.away_is_empty()) << "after a failure of step " << step;
      }
      EXPECT_EQ(run.away.failures, steps);
      EXPECT_EQ(context.statistics().cutovers, 0u);
    });
    expect_undisturbed(run, trace, point);
  }
}

}  // namespace onloop::conformance
