// Listeners that are taken over: sockets, files, counts.
#include <unistd.h>

#include <filesystem>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverListener : public TakeoverTest {
 protected:
  void SetUp() override {
    TakeoverTest::SetUp();
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
  }
  [[nodiscard]] ::testing::AssertionResult move_all() {
    if (const auto moved = take_over(); !moved) return moved;
    if (imported_[0].taken.empty()) return ::testing::AssertionFailure() << "no listener came";
    old_.reset();
    return ::testing::AssertionSuccess();
  }
  Listener& taken() { return *imported_[0].taken[0].listener; }
};
ONLOOP_ON_LOOPS(TakeoverListener, loops_with_dispatch());

TEST_P(TakeoverListener, CountsAndBoundsItsConnectionsAsBefore) {
  ListenOptions options;
  options.max_connections = 2;
  const Address address = old_->listen("127.0.0.1:0", *old_protocol_, options).address();
  Peer first = Peer::connect_to(address);
  Peer second = Peer::connect_to(address);
  ASSERT_TRUE(until([&] { return old_protocol_->opens == 2; }));
  ASSERT_TRUE(move_all());
  EXPECT_EQ(taken().connection_count(), 2u);
  Peer third = Peer::connect_to(address);
  ASSERT_TRUE(until([&] { return third.read(), third.over(); }));
  first.finish();
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
  EXPECT_EQ(taken().connection_count(), 1u);
  Peer fourth = Peer::connect_to(address);
  EXPECT_TRUE(echoes(fourth, "there is room"));
}

TEST_P(TakeoverListener, ItsLimitsAreThoseOfWhatItAcceptsLater) {
  ListenOptions options;
  options.limits.idle_timeout = 20ms;
  const Address address = old_->listen("127.0.0.1:0", *old_protocol_, options).address();
  ASSERT_TRUE(move_all());
  Peer client = Peer::connect_to(address);
  ASSERT_TRUE(until([&] { return next_protocol_->closes == 1; }));
  EXPECT_TRUE(is(next_protocol_->errors[0], std::errc::timed_out));
}

TEST_P(TakeoverListener, PausedStaysPaused) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  listener.pause();
  Peer client = Peer::connect_to(listener.address());
  ASSERT_TRUE(move_all());
  both_turn();
  EXPECT_EQ(next_protocol_->opens, 0);
  taken().resume();
  EXPECT_TRUE(echoes(client, "at last"));
}

TEST_P(TakeoverListener, WhoComesMeanwhileWaitsInTheBacklog) {
  const Address address = old_->listen("127.0.0.1:0", *old_protocol_).address();
  RawTakeoverChannel exporting = start_export();
  RawTakeoverChannel importing = start_import();
  ASSERT_TRUE(until([&] { return exporting.read(), exporting.has(Frame::end); }));
  Peer client = Peer::connect_to(address);
  client.send("early");
  ASSERT_TRUE(importing.send(exporting.bytes(), exporting.fds()));
  ASSERT_TRUE(until([&] { return importing.read(), importing.has(Frame::acknowledge); }));
  both_turn();
  EXPECT_EQ(old_protocol_->opens + next_protocol_->opens, 0);
  exporting.send(exporting.acknowledgement());
  ASSERT_TRUE(until([&] { return exporting.read(), exporting.has(Frame::go); }));
  importing.send(frame(Frame::go));
  ASSERT_TRUE(until([&] { return client.read(), client.received() == "early"; }));
  EXPECT_EQ(next_protocol_->opens, 1);
}

TEST_P(TakeoverListener, BothSocketsOfLocalhostGoOver) {
  Listener& listener = old_->listen("localhost:0", *old_protocol_);
  std::vector<Address> addresses;
  std::vector<std::string> texts;
  for (const Address& address : listener.addresses()) {
    addresses.push_back(address);
    texts.push_back(address.to_string());
  }
  ASSERT_TRUE(move_all());
  std::vector<std::string> taken_texts;
  for (const Address& address : taken().addresses()) taken_texts.push_back(address.to_string());
  EXPECT_EQ(taken_texts, texts);
  for (const Address& address : addresses) {
    Peer client = Peer::connect_to(address);
    EXPECT_TRUE(echoes(client, "hello")) << address.to_string();
  }
}

TEST_P(TakeoverListener, TheFileOfAUnixSocketIsTheNewOwnersToUnlink) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("socket");
  const Address address = Address::parse("unix:" + file);
  old_->listen("unix:" + file, *old_protocol_);
  ASSERT_TRUE(move_all());
  ASSERT_TRUE(std::filesystem::exists(file));
  Peer client = Peer::connect_to(address);
  EXPECT_TRUE(echoes(client, "hello"));
  taken().close();
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_P(TakeoverListener, TheFileOfAUnixSocketStaysTheOldOnesIfTheTakeoverFails) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("socket");
  Listener& listener = old_->listen("unix:" + file, *old_protocol_);
  Line line = join_old();
  next_protocol_->when_import = [](Connection&) { throw std::runtime_error("refused"); };
  start();
  ASSERT_TRUE(both_fail());
  next_.reset();
  ASSERT_TRUE(std::filesystem::exists(file));
  Peer client = Peer::connect_to(listener.address());
  EXPECT_TRUE(echoes(client, "hello"));
  old_.reset();
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_P(TakeoverListener, CountsWhatItLeavesBehindNoMore) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  old_protocol_->when_export = [](Connection&, std::vector<std::byte>&) { return false; };
  Peer client = Peer::connect_to(listener.address());
  ASSERT_TRUE(echoes(client, "before"));
  ASSERT_TRUE(take_over());
  EXPECT_EQ(exported_[0].left_behind, 1u);
  EXPECT_EQ(taken().connection_count(), 0u);
  EXPECT_TRUE(echoes(client, "after"));
  client.finish();
  ASSERT_TRUE(until([&] { return old_protocol_->closes == 1; }));
}

TEST_P(TakeoverListener, ItsConnectionOfAnotherProtocolGoesWithoutIt) {
  Recorder unnamed;
  Listener& listener = old_->listen("127.0.0.1:0", unnamed);
  unnamed.when_open = [&](Connection& connection) { connection.set_protocol(*old_protocol_); };
  Peer client = Peer::connect_to(listener.address());
  ASSERT_TRUE(until([&] { return unnamed.opens == 1; }));
  ASSERT_TRUE(take_over());
  EXPECT_EQ(imported_[0].connections, 1u);
  EXPECT_EQ(listener.connection_count(), 0u);
  EXPECT_TRUE(echoes(client, "over there"));
  EXPECT_EQ(next_protocol_->datas, 1);
}

// A message holds at most 253 descriptors. Listeners with more sockets in total once overran a message.
TEST_P(TakeoverListener, HundredsGoOver) {
  constexpr int kMany = 300;
  const std::string name = "unix:@onloop-test-takeover-" + std::to_string(::getpid()) + "-";
  for (int i = 0; i < kMany; ++i) old_->listen(name + std::to_string(i), *old_protocol_);
  Peer client = Peer::connect_to(Address::parse(name + "299"));
  ASSERT_TRUE(echoes(client, "before"));
  ASSERT_TRUE(move_all());
  ASSERT_EQ(imported_[0].taken.size(), static_cast<std::size_t>(kMany));
  for (const int i : {0, 252, 253, 299}) {
    Peer late = Peer::connect_to(Address::parse(name + std::to_string(i)));
    EXPECT_TRUE(echoes(late, "hello")) << i;
  }
  EXPECT_EQ(imported_[0].taken[299].listener->connection_count(), 2u);
}

}  // namespace
}  // namespace onloop::test
