// A context hands its listeners and live connections to another one. Both are in this process, each driven by dispatch
// or run in turn; that they may be two processes is tested with the command.
#include <sys/socket.h>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Takeover : public LoopTest {
 protected:
  /// Both contexts, turn by turn, until `done`.
  ::testing::AssertionResult both_until(const std::function<bool()>& done) {
    for (int i = 0; i < 100'000; ++i) {
      if (done()) return ::testing::AssertionSuccess();
      turns(*old_, 1);
      if (next_) turns(*next_, 1);
    }
    return ::testing::AssertionFailure() << "not within 100,000 turns";
  }
  void start(Protocol& old_protocol, Protocol& next_protocol, std::chrono::nanoseconds timeout = 10s) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    export_context(*old_, ends[0], {{{"echo", old_protocol}}, timeout},
                   [this](const TakeoverResult& result) { exported_.push_back(result); });
    import_context(*next_, ends[1], {{{"echo", next_protocol}}, timeout},
                   [this](const TakeoverResult& result) { imported_.push_back(result); });
  }
  ::testing::AssertionResult finished() {
    return both_until([this] { return !exported_.empty() && !imported_.empty(); });
  }

  void SetUp() override {
    LoopTest::SetUp();
    old_.emplace(GetParam().make());
    next_.emplace(GetParam().make());
  }
  void TearDown() override {
    old_.reset();
    next_.reset();
    LoopTest::TearDown();
  }

  std::optional<Context> old_, next_;
  std::vector<TakeoverResult> exported_, imported_;
};
ONLOOP_ON_LOOPS(Takeover, loops_with_dispatch());

TEST_P(Takeover, ListenersAndLiveConnectionsGoOverAndNoByteIsLost) {
  Echo echo;
  Echo next_echo;
  Listener& listener = old_->listen("127.0.0.1:0", echo);
  const Address address = listener.address();
  std::vector<Peer> peers;
  for (int i = 0; i < 300; ++i) peers.push_back(Peer::connect_to(address));
  ASSERT_TRUE(both_until([&] { return listener.connection_count() == peers.size(); }));
  for (Peer& peer : peers) peer.send("before ");
  start(echo, next_echo);
  for (Peer& peer : peers) peer.send("and after");
  ASSERT_TRUE(finished());
  ASSERT_FALSE(exported_[0].error) << exported_[0].reason;
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_EQ(exported_[0].connections, peers.size());
  EXPECT_EQ(imported_[0].connections, peers.size());
  ASSERT_EQ(imported_[0].taken.size(), 1u);
  EXPECT_EQ(imported_[0].taken[0].listener->address().to_string(), address.to_string());
  EXPECT_EQ(imported_[0].taken[0].listener->connection_count(), peers.size());
  EXPECT_GT(imported_[0].stall, 0ns);
  EXPECT_EQ(exported_[0].left_behind, 0u);
  old_.reset();
  old_.emplace(GetParam().make());
  Peer late = Peer::connect_to(address);
  late.send("late");
  ASSERT_TRUE(both_until([&] {
    late.read();
    bool all = late.received() == "late";
    for (Peer& peer : peers) {
      peer.read();
      all = all && peer.received() == "before and after";
    }
    return all;
  }));
  for (const Peer& peer : peers) EXPECT_FALSE(peer.over());
}

}  // namespace
}  // namespace onloop::test
