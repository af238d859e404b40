// Everything that can be destroyed is destroyed inside each kind of callback, while other callbacks of the same batch
// are still to come. AddressSanitizer and Valgrind find the errors that this test cannot see.
#include <tuple>

#include "scene.hpp"

namespace onloop::test {
namespace {

enum class Victim { context, own_protocol, other_protocol, listener, each_other_connection, own_connection };
constexpr Victim kVictims[] = {Victim::context,  Victim::own_protocol,          Victim::other_protocol,
                               Victim::listener, Victim::each_other_connection, Victim::own_connection};
constexpr const char* kVictimNames[] = {"context",  "own_protocol",          "other_protocol",
                                        "listener", "each_other_connection", "own_connection"};

void PrintTo(Victim victim, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << kVictimNames[static_cast<std::size_t>(victim)];
}

using Parameters = std::tuple<LoopCase, Mode, Victim, Callback>;

class Destroy : public CleanTestWithParam<Parameters> {};

std::string parameters_name(const ::testing::TestParamInfo<Parameters>& info) {
  const auto& [loop, mode, victim, callback] = info.param;
  return std::string(kVictimNames[static_cast<std::size_t>(victim)]) + "_in_" + name_of(callback) + "_by_" +
         name_of(mode) + "_on_" + loop.name;
}

std::vector<Parameters> all_parameters() {
  std::vector<Parameters> all;
  for (const LoopCase& loop : all_loops()) {
    for (const Mode mode : modes_of(loop)) {
      for (const Victim victim : kVictims) {
        for (const Callback callback : all_callbacks()) {
          if (victim == Victim::listener && callback == Callback::drained) continue;  // a drain closes the listeners
          all.emplace_back(loop, mode, victim, callback);
        }
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Anything, Destroy, ::testing::ValuesIn(all_parameters()), parameters_name);

void destroy(Scene& scene, Victim victim) {
  switch (victim) {
    case Victim::context:
      scene.context.reset();
      break;
    case Victim::own_protocol:
      scene.actor.reset();
      break;
    case Victim::other_protocol:
      scene.bystanders.reset();
      break;
    case Victim::listener:
      scene.listener->close();
      break;
    case Victim::each_other_connection:
      for (const Ref& ref : scene.other_refs) {
        if (ref) ref->abort();
      }
      break;
    case Victim::own_connection:
      if (scene.self_ref) scene.self_ref->abort();
      break;
  }
}

// Nothing of a severed connection remains for its peer.
void expect_over(Peer& peer) {
  EXPECT_TRUE(readable(peer.fd(), 1000ms));
  peer.read();
  EXPECT_TRUE(peer.over());
}

TEST_P(Destroy, IsCleanAndFinal) {
  const LoopCase& loop = std::get<0>(GetParam());
  const Mode mode = std::get<1>(GetParam());
  const Victim what = std::get<2>(GetParam());
  const Callback callback = std::get<3>(GetParam());
  Scene scene(loop);

  int calls_at_strike = -1;
  scene.provoke(callback, [&scene, &calls_at_strike, what] {
    const std::string captured(100, 'x');  // the captured objects must live until the callback returns
    destroy(scene, what);
    calls_at_strike = scene.calls() + static_cast<int>(captured.size());
  });
  ASSERT_TRUE(scene.drive(mode, [&] { return scene.struck(); }));
  ASSERT_TRUE(scene.struck());

  if (what == Victim::context) {
    EXPECT_EQ(scene.calls(), calls_at_strike - 100) << "a callback came after the context was gone";
    for (Peer& other : scene.others) expect_over(other);
    for (const Ref& ref : scene.other_refs) EXPECT_FALSE(ref);
    return;
  }

  // The rest works on.
  bool posted = false;
  scene.context->post([&] { posted = true; });
  const bool others_live = what != Victim::other_protocol && what != Victim::each_other_connection;
  ASSERT_TRUE(scene.drive(mode, [&] {
    return posted &&
           (!others_live || callback == Callback::drained || scene.bystanders->received.size() == Scene::kBystanders);
  }));
  turns(*scene.context);
  if (what == Victim::own_protocol && callback != Callback::on_close) expect_over(scene.self);
  if (what == Victim::own_connection) {
    EXPECT_FALSE(scene.self_ref);
  }
  if (!others_live) {
    for (Peer& other : scene.others) expect_over(other);
    for (const Ref& ref : scene.other_refs) EXPECT_FALSE(ref);
  }
  if (what == Victim::each_other_connection) {
    EXPECT_EQ(scene.bystanders->closes, Scene::kBystanders + 1);
  }
}

}  // namespace
}  // namespace onloop::test
