// What a callback may do after a move, in each kind of callback and on every loop: return, move back, destroy the
// context, or throw. AddressSanitizer and Valgrind find the errors that this test cannot see.
#include <stdexcept>
#include <tuple>

#include "scene.hpp"

namespace onloop::test {
namespace {

enum class Act { move, move_twice, move_and_return, move_and_destroy, move_and_throw };
constexpr Act kActs[] = {Act::move, Act::move_twice, Act::move_and_return, Act::move_and_destroy, Act::move_and_throw};
constexpr const char* kActNames[] = {"move", "move_twice", "move_and_return", "move_and_destroy", "move_and_throw"};

void PrintTo(Act act, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << kActNames[static_cast<std::size_t>(act)];
}

using Parameters = std::tuple<LoopCase, Mode, Act>;
class CutoverIn : public CleanTestWithParam<Parameters> {};

std::string parameters_name(const ::testing::TestParamInfo<Parameters>& info) {
  const auto& [loop, mode, act] = info.param;
  return std::string(kActNames[static_cast<std::size_t>(act)]) + "_by_" + name_of(mode) + "_on_" + loop.name;
}

std::vector<Parameters> all_parameters() {
  std::vector<Parameters> all;
  for (const LoopCase& loop : all_loops()) {
    for (const Mode mode : modes_of(loop)) {
      for (const Act act : kActs) {
        if (mode == Mode::run || act == Act::move) all.emplace_back(loop, mode, act);
      }
    }
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(AnyCallback, CutoverIn, ::testing::ValuesIn(all_parameters()), parameters_name);

struct Thrown : std::runtime_error {
  Thrown() : std::runtime_error("thrown after a move") {}
};

/// Drives the context by dispatch() if its loop supports that. This may change with each move. One of the acts throws
/// an exception, which is caught here.
bool drive(Scene& scene, Mode mode, const std::function<bool()>& done) {
  const auto deadline = Clock::now() + 10s;
  while (scene.context && !done() && Clock::now() < deadline) {
    try {
      const bool dispatches = mode == Mode::dispatch && scene.context->loop().ops().turn;
      static_cast<void>(scene.drive(dispatches ? Mode::dispatch : Mode::run,
                                    [&] { return done() || (dispatches && !scene.context->loop().ops().turn); }));
    } catch (const Thrown&) {
    }
  }
  return !scene.context || done();
}

TEST_P(CutoverIn, EveryCallbackIsCleanAndLosesNothing) {
  const LoopCase& home = std::get<0>(GetParam());
  const Mode mode = std::get<1>(GetParam());
  const Act act = std::get<2>(GetParam());
  static std::size_t next = 0;
  static std::size_t round = 0;
  ++round;
  for (const Callback callback : all_callbacks()) {
    // A scene takes a long time. So the acts other than a plain move run only in every third callback. Over all loops,
    // they run in all callbacks.
    constexpr std::size_t kRare = 3;
    if (act != Act::move && (static_cast<std::size_t>(callback) + round) % kRare != 0) continue;
    // An exception of on_error does not leave the context: it is logged.
    if (act == Act::move_and_throw && callback == Callback::on_error) continue;
    const auto another = [&]() -> const LoopCase& {
      do {
        ++next;
      } while (all_loops()[next % all_loops().size()].name == home.name);
      return all_loops()[next % all_loops().size()];
    };
    const LoopCase& target = another();
    SCOPED_TRACE(std::string("in ") + name_of(callback) + " to " + target.name);
    Scene scene(home);
    int calls_at_strike = 0;
    scene.provoke(callback, [&] {
      const std::string captured(100, 'x');  // the captured objects must live until the callback returns
      if (act == Act::move_twice) scene.context->move_to(another().make());
      scene.context->move_to(target.make());
      if (act == Act::move_and_return) scene.context->move_to(home.make());
      if (act == Act::move_and_destroy) scene.context.reset();
      calls_at_strike = scene.calls() + static_cast<int>(captured.size());
      if (act == Act::move_and_throw) throw Thrown();
    });
    ASSERT_TRUE(drive(scene, mode, [&] { return scene.struck(); }));
    ASSERT_TRUE(scene.struck());
    if (act == Act::move_and_destroy) {
      ASSERT_FALSE(scene.context);
      EXPECT_EQ(scene.calls(), calls_at_strike - 100) << "a callback came after the context was gone";
      continue;
    }
    EXPECT_EQ(scene.context->loop().name(), act == Act::move_and_return ? home.make().name() : target.make().name());
    EXPECT_EQ(scene.context->statistics().cutovers, act == Act::move_twice || act == Act::move_and_return ? 2u : 1u);
    bool posted = false;
    scene.context->post([&] { posted = true; });
    ASSERT_TRUE(drive(scene, mode, [&] {
      return posted && (callback == Callback::drained || scene.bystanders->received.size() == Scene::kBystanders);
    }));
    if (callback != Callback::drained) {
      EXPECT_TRUE(scene.other_refs.back()) << "the connect that is in flight goes on";
      EXPECT_EQ(scene.bystanders->closes, 0);
    }
  }
}

}  // namespace
}  // namespace onloop::test
