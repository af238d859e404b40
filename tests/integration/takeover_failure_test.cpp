// Takeovers that fail before the acknowledgement. The old context goes on with everything that it has. The test plays
// the other side and can stop at any point.
#include <stdexcept>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverFailure : public TakeoverTest {
 protected:
  static constexpr int kPeers = 3;

  void SetUp() override {
    TakeoverTest::SetUp();
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
    address_ = old_->listen("127.0.0.1:0", *old_protocol_).address();
    for (int i = 0; i < kPeers; ++i) peers_.push_back(Peer::connect_to(address_));
    ASSERT_TRUE(until([&] { return old_protocol_->opens == kPeers; }));
  }
  void TearDown() override {
    peers_.clear();
    TakeoverTest::TearDown();
  }
  [[nodiscard]] ::testing::AssertionResult exporting_fails(std::errc code) {
    if (const auto over = until([this] { return !exported_.empty(); }); !over) return over;
    const TakeoverResult result = exported_[0];
    exported_.clear();
    if (!is(result.error, code)) return ::testing::AssertionFailure() << result.error << ": " << result.reason;
    if (result.reason.empty()) return ::testing::AssertionFailure() << "no reason";
    return ::testing::AssertionSuccess();
  }
  /// Checks that the old context serves every connection and a new client.
  [[nodiscard]] ::testing::AssertionResult old_goes_on() {
    const int datas = old_protocol_->datas;
    for (Peer& peer : peers_) {
      if (const auto echoed = echoes(peer, "and on"); !echoed) return echoed;
    }
    Peer late = Peer::connect_to(address_);
    if (const auto echoed = echoes(late, "hello"); !echoed) return echoed;
    if (old_protocol_->datas < datas + kPeers + 1) return ::testing::AssertionFailure() << "served elsewhere";
    const int closes = old_protocol_->closes;
    late.finish();
    return until([&] { return old_protocol_->closes > closes; });
  }

  Address address_;
  std::vector<Peer> peers_;
};
ONLOOP_ON_LOOPS(TakeoverFailure, loops_with_dispatch());

TEST_P(TakeoverFailure, TheOtherSideGoesAfterAnyNumberOfBytes) {
  std::size_t all = 0;
  {
    RawTakeoverChannel channel = start_export();
    ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
    all = channel.bytes().size();
    channel.close();
    ASSERT_TRUE(exporting_fails(std::errc::connection_reset));
  }
  for (std::size_t bytes = 0; bytes < all; bytes += 1 + all / 12) {
    RawTakeoverChannel channel = start_export();
    ASSERT_TRUE(until([&] { return channel.read(bytes - channel.bytes().size()), channel.bytes().size() == bytes; }));
    channel.close();
    ASSERT_TRUE(until([&] { return !exported_.empty(); })) << bytes;
    EXPECT_TRUE(exported_[0].error) << bytes;
    exported_.clear();
    ASSERT_TRUE(old_goes_on()) << bytes;
  }
}

TEST_P(TakeoverFailure, APartOfAnAcknowledgementDoesNotCount) {
  for (const std::size_t bytes : {0u, 1u, 7u, 8u, 23u}) {
    RawTakeoverChannel channel = start_export();
    ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
    if (bytes > 0) {
      ASSERT_TRUE(channel.send(channel.acknowledgement().substr(0, bytes)));
    }
    both_turn();
    EXPECT_TRUE(exported_.empty());
    channel.close();
    ASSERT_TRUE(exporting_fails(std::errc::connection_reset));
    ASSERT_TRUE(old_goes_on());
  }
}

TEST_P(TakeoverFailure, AnAcknowledgementBeforeAnythingWasSentIsRefused) {
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(channel.send(frame(Frame::acknowledge)));
  ASSERT_TRUE(exporting_fails(std::errc::protocol_error));
  channel.read();
  EXPECT_FALSE(channel.has(Frame::go));
  EXPECT_TRUE(old_goes_on());
}

TEST_P(TakeoverFailure, AnAcknowledgementOfWhatIsNotSentInFullIsRefused) {
  Line line = join_old();
  line.connection.write(pattern(6'000'000));
  RawTakeoverChannel channel = start_export();
  both_turn();
  ASSERT_TRUE(channel.send(frame(Frame::acknowledge)));
  ASSERT_TRUE(exporting_fails(std::errc::protocol_error));
  ASSERT_TRUE(old_goes_on());
  channel.close();
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.received().size() == 6'000'000; }));
  EXPECT_TRUE(line.peer.received() == pattern(6'000'000));
}

TEST_P(TakeoverFailure, AnythingElseThanAnAcknowledgementIsRefused) {
  std::vector<std::string> garbage{std::string(8, '\0'), std::string(200, 'x'), frame(9), frame(UINT32_MAX),
                                   frame(6).substr(0, 4) + std::string(4, '\xff')};
  for (const Frame type : {Frame::hello, Frame::listener, Frame::connection, Frame::data, Frame::end, Frame::go}) {
    garbage.push_back(frame(type));
  }
  for (const std::string& bytes : garbage) {
    RawTakeoverChannel channel = start_export();
    ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
    ASSERT_TRUE(channel.send(bytes));
    ASSERT_TRUE(exporting_fails(std::errc::protocol_error));
    ASSERT_TRUE(old_goes_on());
    channel.read();
    EXPECT_FALSE(channel.has(Frame::go));
    EXPECT_TRUE(channel.has(Frame::give_up));
  }
}

// A side that can't read an answer tells it from its length: go has no bytes, acknowledge has 16, both have 24 behind
// the first head.
TEST_P(TakeoverFailure, AReasonIsNeverAsLongAsAnotherAnswer) {
  for (const std::size_t length : {0u, 1u, 15u, 16u, 17u, 24u, 25u}) {
    old_options_.protocols[0].export_state = [length](Connection&, std::vector<std::byte>&) -> bool {
      throw std::runtime_error(std::string(length, 'x'));
    };
    RawTakeoverChannel channel = start_export();
    ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::give_up); }));
    const std::size_t begin = channel.bytes().rfind(frame(Frame::give_up).substr(0, 4));
    const std::size_t said = channel.bytes().size() - begin - frame(Frame::give_up).size();
    EXPECT_TRUE(said != 0 && said != 16 && said != 24) << length;
    EXPECT_GE(said, length);
    exported_.clear();
  }
}

TEST_P(TakeoverFailure, WhoNeverAnswersIsWaitedForUntilTheTimeout) {
  old_options_.timeout = 20ms;
  const auto begin = Clock::now();
  const RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(exporting_fails(std::errc::timed_out));
  EXPECT_GE(Clock::now() - begin, 20ms);
  EXPECT_TRUE(old_goes_on());
}

TEST_P(TakeoverFailure, WhoNeverSaysAnythingIsWaitedForUntilTheTimeout) {
  next_options_.timeout = 20ms;
  const auto begin = Clock::now();
  RawTakeoverChannel channel = start_import();
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  EXPECT_GE(Clock::now() - begin, 20ms);
  EXPECT_TRUE(is(imported_[0].error, std::errc::timed_out)) << imported_[0].reason;
  channel.read();
  EXPECT_TRUE(channel.has(Frame::give_up));
}

TEST_P(TakeoverFailure, TheReasonOfTheOtherSideIsTold) {
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(channel.send(frame(Frame::give_up, "no room left")));
  channel.close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_NE(exported_[0].reason.find("no room left"), std::string::npos) << exported_[0].reason;
  EXPECT_TRUE(old_goes_on());
}

TEST_P(TakeoverFailure, AProtocolThatIsNotKnownThere) {
  Traveller other;
  next_options_.protocols.clear();
  next_options_.protocols.push_back(member("another", other));
  start();
  ASSERT_TRUE(both_fail());
  EXPECT_NE(imported_[0].reason.find("traveller"), std::string::npos) << imported_[0].reason;
  EXPECT_NE(exported_[0].reason.find("traveller"), std::string::npos) << exported_[0].reason;
  EXPECT_TRUE(old_goes_on());
  EXPECT_EQ(next_->statistics().connections, 0u);
}

TEST_P(TakeoverFailure, WhatOnImportThrowsRefusesAll) {
  next_protocol_->when_import = [this](Connection&) {
    if (next_protocol_->imports == kPeers) throw std::runtime_error("the last one is too much");
  };
  start();
  ASSERT_TRUE(both_fail());
  EXPECT_NE(imported_[0].reason.find("the last one is too much"), std::string::npos) << imported_[0].reason;
  EXPECT_NE(exported_[0].reason.find("the last one is too much"), std::string::npos) << exported_[0].reason;
  EXPECT_TRUE(old_goes_on());
  EXPECT_EQ(next_->statistics().connections, 0u);
  EXPECT_EQ(next_protocol_->closes, 0);
}

TEST_P(TakeoverFailure, WhatOnExportThrowsEndsIt) {
  old_protocol_->when_export = [](Connection&, std::vector<std::byte>&) -> bool {
    throw std::runtime_error("not now");
  };
  start();
  ASSERT_TRUE(both_fail());
  EXPECT_NE(exported_[0].reason.find("not now"), std::string::npos) << exported_[0].reason;
  EXPECT_NE(imported_[0].reason.find("not now"), std::string::npos) << imported_[0].reason;
  EXPECT_TRUE(old_goes_on());
}

/// True if the limit on descriptors also counts descriptors that come over a socket. Valgrind does not count them.
bool limit_counts_received_descriptors() {
  auto [here, there] = connected_pair(Kind::unix_pair);
  RawTakeoverChannel sending(std::move(here)), receiving(std::move(there));
  const DescriptorsLeft none(0);
  sending.send("!", {0});
  receiving.read();
  return receiving.fds().empty();
}

// The importing side needs one descriptor for the listener and one for each connection. They come in one message.
TEST_P(TakeoverFailure, OutOfDescriptors) {
  if (!limit_counts_received_descriptors()) GTEST_SKIP() << "the limit does not hold for received descriptors";
  for (rlim_t left = 0; left <= kPeers; ++left) {
    start();
    {
      const DescriptorsLeft few(left);
      ASSERT_TRUE(both_fail()) << left;
    }
    EXPECT_TRUE(is(imported_[0].error, std::errc::too_many_files_open)) << imported_[0].reason;
    exported_.clear();
    imported_.clear();
    ASSERT_TRUE(old_goes_on()) << left;
  }
  ASSERT_TRUE(take_over());
  for (Peer& peer : peers_) EXPECT_TRUE(echoes(peer, "over there"));
}

TEST_P(TakeoverFailure, TheImportingContextIsDestroyedAfterAnyNumberOfTurns) {
  Line line = join_old();
  line.connection.write(pattern(6'000'000));  // many messages
  for (int count = 0;; ++count) {
    start();
    both_turn(count);
    if (!exported_.empty()) break;
    next_.reset();
    ASSERT_TRUE(until([&] { return !exported_.empty(); }));
    EXPECT_TRUE(exported_[0].error);
    ASSERT_TRUE(old_goes_on()) << count;
    exported_.clear();
    next_ = std::make_unique<Context>(another_loop());
  }
  ASSERT_FALSE(exported_[0].error) << exported_[0].reason;
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  for (Peer& peer : peers_) EXPECT_TRUE(echoes(peer, "over there"));
  ASSERT_TRUE(until([&] { return line.peer.read(), line.peer.received().size() == 6'000'000; }));
  EXPECT_TRUE(line.peer.received() == pattern(6'000'000));
}

TEST_P(TakeoverFailure, TheExportingContextIsDestroyedBeforeTheAcknowledgement) {
  Line line = join_old();
  line.connection.write(pattern(6'000'000));
  start();
  both_turn(2);
  ASSERT_TRUE(imported_.empty());
  old_.reset();
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  EXPECT_TRUE(imported_[0].error);
  EXPECT_FALSE(imported_[0].reason.empty());
  EXPECT_TRUE(exported_.empty());
  EXPECT_EQ(next_->statistics().connections, 0u);
  for (Peer& peer : peers_) EXPECT_TRUE(until([&] { return peer.read(), peer.over(); }));
}

}  // namespace
}  // namespace onloop::test
