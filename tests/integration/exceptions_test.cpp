// An exception of a callback leaves run() or dispatch(). Nothing else is lost.
#include <stdexcept>
#include <tuple>

#include "scene.hpp"

namespace onloop::test {
namespace {

using Parameters = std::tuple<LoopCase, Mode, Callback>;

class Exceptions : public CleanTestWithParam<Parameters> {};

std::string parameters_name(const ::testing::TestParamInfo<Parameters>& info) {
  const auto& [loop, mode, callback] = info.param;
  return std::string("in_") + name_of(callback) + "_by_" + name_of(mode) + "_on_" + loop.name;
}

std::vector<Parameters> all_parameters() {
  std::vector<Parameters> all;
  for (const LoopCase& loop : all_loops()) {
    for (const Mode mode : modes_of(loop)) {
      for (const Callback callback : all_callbacks()) {
        if (callback == Callback::on_error) continue;  // an exception of on_error is only logged
        all.emplace_back(loop, mode, callback);
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Anything, Exceptions, ::testing::ValuesIn(all_parameters()), parameters_name);

TEST_P(Exceptions, LeavesTheCallAndNothingElseIsLost) {
  const LoopCase& loop = std::get<0>(GetParam());
  const Mode mode = std::get<1>(GetParam());
  const Callback callback = std::get<2>(GetParam());
  Scene scene(loop);
  scene.provoke(callback, [] { throw std::runtime_error("thrown by a callback"); });
  std::string order;
  for (const char c : std::string("abc")) scene.context->post([&order, c] { order += c; });
  bool timer_fired = false;
  const Timer timer = scene.context->timer(0ns, [&] { timer_fired = true; });
  std::string words;
  try {
    ASSERT_FALSE(scene.drive(mode, [] { return false; }));
  } catch (const std::runtime_error& error) {
    words = error.what();
  }
  EXPECT_EQ(words, "thrown by a callback");

  ASSERT_TRUE(scene.drive(mode,
                          [&] {
                            const bool others_served = scene.bystanders->received.size() == Scene::kBystanders;
                            return order.size() == 3 && timer_fired && (others_served || callback == Callback::drained);
                          }))
      << order << ' ' << timer_fired << ' ' << scene.bystanders->received;
  EXPECT_EQ(order, "abc");

  if (callback == Callback::on_close) {
    EXPECT_FALSE(scene.self_ref) << "its last callback was made";
    EXPECT_EQ(scene.actor->closes, 1);
  } else if (callback != Callback::on_end && callback != Callback::drained) {
    ASSERT_TRUE(scene.self_ref) << "the connection lives on";
    const std::size_t before = scene.actor->received.size();
    scene.self.send("next");
    EXPECT_TRUE(scene.drive(mode, [&] { return scene.actor->received.size() == before + 4; }));
  }
}

// Exceptions in callbacks that a Scene does not have.
class ExceptionsOnLoops : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(ExceptionsOnLoops);

TEST_P(ExceptionsOnLoops, EachOfSeveralInOneTurnComesOut) {
  Context context{GetParam().make()};
  int ran = 0;
  for (int i = 0; i < 3; ++i) {
    context.post([&] {
      ++ran;
      throw std::runtime_error("again");
    });
  }
  for (int i = 1; i <= 3; ++i) {
    EXPECT_THROW(context.run(), std::runtime_error);
    EXPECT_EQ(ran, i);
  }
  turns(context);
  EXPECT_EQ(ran, 3);
}

TEST_P(ExceptionsOnLoops, AContextMayBeDestroyedWhileOneLeavesRun) {
  auto context = std::make_unique<Context>(GetParam().make());
  context->post([&] {
    context.reset();
    throw std::runtime_error("and gone");
  });
  EXPECT_THROW(context->run(), std::runtime_error);
}

TEST_P(ExceptionsOnLoops, AfterwardsTheThreadIsFreeAgain) {
  context().post([] { throw std::runtime_error("out"); });
  EXPECT_THROW(context().run(), std::runtime_error);
  turns(context());
}

TEST_P(ExceptionsOnLoops, WhatIsThrownIsLeftAsItIs) {
  context().post([] { throw 42; });
  int caught = 0;
  try {
    context().run();
  } catch (int thrown) {
    caught = thrown;
  }
  EXPECT_EQ(caught, 42);
}

}  // namespace
}  // namespace onloop::test
