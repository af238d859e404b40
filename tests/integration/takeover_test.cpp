// A context hands its listeners and live connections over to another context. Both are in this process, and the test
// drives them in turn by dispatch() or run(). The tests of onloop-echo do this with two processes.
#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class Takeover : public TakeoverTest {};
ONLOOP_ON_LOOPS(Takeover, loops_with_dispatch());

TEST_P(Takeover, ListenersAndLiveConnectionsGoOverAndNoByteIsLost) {
  Echo echo;
  Echo next_echo;
  old_options_.protocols.push_back({.name = "echo", .protocol = echo});
  next_options_.protocols.push_back({.name = "echo", .protocol = next_echo});
  Listener& listener = old_->listen("127.0.0.1:0", echo);
  const Address address = listener.address();
  std::vector<Peer> peers;
  for (int i = 0; i < 300; ++i) peers.push_back(Peer::connect_to(address));
  ASSERT_TRUE(until([&] { return listener.connection_count() == peers.size(); }));
  for (Peer& peer : peers) peer.send("before ");
  start();
  for (Peer& peer : peers) peer.send("and after");
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
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
  Peer late = Peer::connect_to(address);
  late.send("late");
  ASSERT_TRUE(until([&] {
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
