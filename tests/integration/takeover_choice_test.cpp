// Which connections go over, with the state from their protocols, and which connections stay.
#include <algorithm>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverChoice : public TakeoverTest {};
ONLOOP_ON_LOOPS(TakeoverChoice, loops_with_dispatch());

constexpr std::size_t kLongestState = 60'000;

TEST_P(TakeoverChoice, TheStateOfTheProtocolArrivesAsItWasGiven) {
  std::vector<std::string> states{"", "short", std::string(3, '\0'), pattern(kLongestState)};
  std::vector<Line> lines;
  for (std::size_t i = 0; i < states.size(); ++i) {
    lines.push_back(join_old());
    lines.back().connection.emplace_state<std::string>(states[i]);
  }
  old_protocol_->when_export = [](Connection& connection, std::vector<std::byte>& state) {
    const auto bytes = std::as_bytes(std::span{connection.state<std::string>()});
    state.assign(bytes.begin(), bytes.end());
    return true;
  };
  ASSERT_TRUE(take_over());
  std::sort(states.begin(), states.end());
  std::sort(next_protocol_->states.begin(), next_protocol_->states.end());
  EXPECT_TRUE(next_protocol_->states == states);
  EXPECT_EQ(old_protocol_->exports, 4);
  EXPECT_EQ(next_protocol_->imports, 4);
  EXPECT_EQ(next_protocol_->opens, 0);
}

TEST_P(TakeoverChoice, WhatItsProtocolDeclinesStaysAndIsServed) {
  old_protocol_->when_data = next_protocol_->when_data = echo_back;
  Line declined = join_old();
  Line too_long = join_old();
  Line goes = join_old();
  old_protocol_->when_export = [&](Connection& connection, std::vector<std::byte>& state) {
    if (&connection == &too_long.connection) state.resize(kLongestState + 1);
    return &connection != &declined.connection;
  };
  too_long.peer.send("sent before, ");
  ASSERT_TRUE(take_over());
  EXPECT_EQ(exported_[0].connections, 1u);
  EXPECT_EQ(exported_[0].left_behind, 2u);
  EXPECT_EQ(imported_[0].connections, 1u);
  const int by_old = old_protocol_->datas;
  EXPECT_TRUE(echoes(declined.peer, "still here"));
  EXPECT_TRUE(until([&] { return too_long.peer.read(), too_long.peer.received() == "sent before, "; }));
  EXPECT_TRUE(echoes(goes.peer, "over there"));
  EXPECT_GE(old_protocol_->datas, by_old + 1);
  EXPECT_EQ(next_protocol_->received, "over there");
}

TEST_P(TakeoverChoice, WhatIsNotNamedStaysAndIsServed) {
  Recorder unnamed;
  unnamed.when_data = echo_back;
  Listener& stays = old_->listen("127.0.0.1:0", unnamed);
  Line line = join(*old_, unnamed);
  ASSERT_TRUE(until([&] { return unnamed.opens == 1; }));
  Line goes = join_old();
  ASSERT_TRUE(take_over());
  EXPECT_EQ(exported_[0].connections, 1u);
  EXPECT_EQ(exported_[0].listeners, 0u);
  EXPECT_EQ(exported_[0].left_behind, 1u);
  EXPECT_TRUE(echoes(line.peer, "still here"));
  Peer client = Peer::connect_to(stays.address());
  EXPECT_TRUE(echoes(client, "still accepted"));
}

TEST_P(TakeoverChoice, WhatIsStillConnectingStaysAndConnects) {
  const FullListener unreachable;
  old_->connect(unreachable.listener.address.to_string(), *old_protocol_);
  const RawListener reachable("127.0.0.1:0");
  ASSERT_TRUE(take_over());
  EXPECT_EQ(exported_[0].left_behind, 1u);
  EXPECT_EQ(old_protocol_->opens + old_protocol_->closes, 0);
  old_->connect(reachable.address.to_string(), *old_protocol_);
  ASSERT_TRUE(until([&] { return old_protocol_->opens == 1; }));
}

TEST_P(TakeoverChoice, EachConnectionGetsTheProtocolOfTheSameName) {
  Traveller old_second, next_second;
  old_options_.protocols.push_back(member("second", old_second));
  next_options_.protocols.clear();
  next_options_.protocols.push_back(member("second", next_second));
  next_options_.protocols.push_back(member("traveller", *next_protocol_));
  Line first = join_old();
  Line second = join(*old_, old_second);
  ASSERT_TRUE(until([&] { return old_second.opens == 1; }));
  ASSERT_TRUE(take_over());
  first.peer.send("to the first");
  second.peer.send("to the second");
  ASSERT_TRUE(until([&] { return !next_protocol_->received.empty() && !next_second.received.empty(); }));
  EXPECT_EQ(next_protocol_->received, "to the first");
  EXPECT_EQ(next_second.received, "to the second");
}

TEST_P(TakeoverChoice, WhatTheNextContextHasAlreadyIsLeftAlone) {
  next_protocol_->when_data = old_protocol_->when_data = echo_back;
  Listener& own = next_->listen("127.0.0.1:0", *next_protocol_);
  Peer before = Peer::connect_to(own.address());
  ASSERT_TRUE(echoes(before, "before"));
  Line goes = join_old();
  ASSERT_TRUE(take_over());
  EXPECT_TRUE(echoes(before, "after"));
  EXPECT_TRUE(echoes(goes.peer, "here too"));
  EXPECT_EQ(own.connection_count(), 1u);
}

TEST_P(TakeoverChoice, NothingAtAllCanBeTakenOver) {
  ASSERT_TRUE(take_over());
  EXPECT_EQ(imported_[0].connections + imported_[0].listeners + exported_[0].left_behind, 0u);
}

// Three messages with many descriptors each may arrive at the same time. The importing side once refused this as too
// many descriptors.
TEST_P(TakeoverChoice, ThousandsGoOverThoughTheImportingSideLagsBehind) {
  constexpr std::size_t kMany = 900;
  std::vector<Line> lines;
  for (std::size_t i = 0; i < kMany; ++i) lines.push_back(join(*old_, *old_protocol_, {}, Kind::unix_pair));
  ASSERT_TRUE(until([&] { return old_protocol_->opens == static_cast<int>(kMany); }));
  start();
  turns(*old_, 20);
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_EQ(imported_[0].connections, kMany);
  for (Line& line : lines) line.peer.send("!");
  ASSERT_TRUE(until([&] { return next_protocol_->received.size() == kMany; }));
}

TEST_P(TakeoverChoice, AConnectionGoesThereAndBackAgain) {
  old_protocol_->when_data = next_protocol_->when_data = echo_back;
  Line line = join_old();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(take_over());
    EXPECT_TRUE(echoes(line.peer, "round " + std::to_string(i)));
    exported_.clear();
    imported_.clear();
    std::swap(old_, next_);
    old_options_.protocols.swap(next_options_.protocols);
  }
  EXPECT_EQ(old_protocol_->imports + next_protocol_->imports, 3);
}

}  // namespace
}  // namespace onloop::test
