// Callbacks of a takeover that destroy or throw.
#include <sys/socket.h>
#include <unistd.h>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverDestroy : public TakeoverTest {
 protected:
  void SetUp() override {
    TakeoverTest::SetUp();
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
  }
  /// Starts both sides. At the end of each side, its function is called.
  void start_with(std::function<void()> exported, std::function<void()> imported) {
    auto [here, there] = connected_pair(Kind::unix_pair);
    export_context(*old_, here.release(), old_options_, [this, exported](const TakeoverResult& result) {
      exported_.push_back(result);
      exported();
    });
    import_context(*next_, there.release(), next_options_, [this, imported](const TakeoverResult& result) {
      imported_.push_back(result);
      imported();
    });
  }
};
ONLOOP_ON_LOOPS(TakeoverDestroy, loops_with_dispatch());

TEST_P(TakeoverDestroy, TheContextsInDone) {
  Line line = join_old();
  start_with([this] { old_.reset(); }, [this] { next_.reset(); });
  ASSERT_TRUE(until([&] { return !old_ && !next_; }));
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
}

TEST_P(TakeoverDestroy, TheContextsInDoneOfAFailure) {
  Line line = join_old();
  next_protocol_->when_import = [](Connection&) { throw std::runtime_error("refused"); };
  start_with([this] { old_.reset(); }, [this] { next_.reset(); });
  ASSERT_TRUE(until([&] { return !old_ && !next_; }));
  EXPECT_TRUE(exported_[0].error);
  EXPECT_TRUE(imported_[0].error);
}

TEST_P(TakeoverDestroy, TheContextInOnExport) {
  Line one = join_old(), two = join_old();
  for (Line* line : {&one, &two}) line->connection.emplace_state<std::string>("a state that is used until the end");
  old_protocol_->when_export = [this](Connection& connection, std::vector<std::byte>& state) {
    const std::string& text = connection.state<std::string>();
    old_.reset();
    state.resize(text.size());  // memory lives until the callback has returned, as in any other
    return true;
  };
  start();
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  EXPECT_TRUE(imported_[0].error);
  EXPECT_TRUE(exported_.empty());
  EXPECT_EQ(next_->statistics().connections, 0u);
  EXPECT_EQ(old_protocol_->exports, 1);
}

TEST_P(TakeoverDestroy, TheContextInOnImport) {
  Line one = join_old(), two = join_old();
  next_protocol_->when_import = [this](Connection& connection) {
    std::string& text = connection.emplace_state<std::string>("a state that is used until the end");
    next_.reset();
    text += "!";
  };
  start();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(exported_[0].error);
  EXPECT_TRUE(imported_.empty());
  EXPECT_TRUE(echoes(one.peer, "still here"));
  EXPECT_TRUE(echoes(two.peer, "still here"));
}

// A connection is closed while it waits to be sent. Its number is at once taken by another descriptor.
TEST_P(TakeoverDestroy, AConnectionInOnExportOfAnother) {
  const auto second = std::make_unique<Traveller>();
  auto first = std::make_unique<Traveller>();
  for (Traveller* each : {second.get(), first.get()}) {
    const std::string name(each == first.get() ? "first" : "second");
    old_options_.protocols.push_back(member(name, *each));
    next_options_.protocols.push_back(member(name, *each));
  }
  Line one = join(*old_, *second), two = join(*old_, *first);
  ASSERT_TRUE(until([&] { return first->opens + second->opens == 2; }));
  const int number = two.connection.fd();
  Fd other;
  const auto strike = [&](std::unique_ptr<Traveller>& victim) {
    victim.reset();
    other = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  };
  second->when_export = [&](Connection&, std::vector<std::byte>&) {
    if (first) strike(first);
    return true;
  };
  second->when_data = echo_back;
  start();
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
  EXPECT_EQ(second->exports, 1);
  EXPECT_EQ(other.get(), number) << "the test needs that number";
  EXPECT_TRUE(is(exported_[0].error, std::errc::operation_canceled)) << exported_[0].reason;
  EXPECT_TRUE(imported_[0].error);
  EXPECT_EQ(second->imports, 0);
  EXPECT_TRUE(echoes(one.peer, "still here"));
  EXPECT_TRUE(until([&] { return two.peer.read(), two.peer.over(); }));
}

TEST_P(TakeoverDestroy, AListenerInOnExport) {
  Listener& listener = old_->listen("127.0.0.1:0", *old_protocol_);
  Line line = join_old();
  old_protocol_->when_export = [&](Connection&, std::vector<std::byte>&) {
    listener.close();
    return true;
  };
  start();
  ASSERT_TRUE(until([&] { return !exported_.empty() && !imported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::operation_canceled)) << exported_[0].reason;
  EXPECT_TRUE(echoes(line.peer, "still here"));
}

TEST_P(TakeoverDestroy, TheExportingProtocolAfterEverythingWasSent) {
  Line line = join_old();
  RawTakeoverChannel channel = start_export();
  ASSERT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
  old_protocol_.reset();
  channel.close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(until([&] { return line.peer.read(), line.peer.over(); }));
  EXPECT_EQ(old_->statistics().connections, 0u);
}

TEST_P(TakeoverDestroy, WhatDoneThrowsLeavesTheLoop) {
  Line line = join_old();
  start_with([] { throw std::runtime_error("exported"); }, [] { throw std::runtime_error("imported"); });
  std::vector<std::string> caught;
  for (int i = 0; i < 1'000 && caught.size() < 2; ++i) {
    try {
      both_turn(1);
    } catch (const std::runtime_error& error) {
      caught.emplace_back(error.what());
    }
  }
  EXPECT_EQ(caught, (std::vector<std::string>{"exported", "imported"}));
  EXPECT_EQ(exported_.size(), 1u);
  EXPECT_EQ(imported_.size(), 1u);
  EXPECT_TRUE(echoes(line.peer, "over there"));
}

TEST_P(TakeoverDestroy, AnotherTakeoverBeginsInDone) {
  Line line = join_old();
  bool back = false;
  const auto done_again = [&](const TakeoverResult& result) {
    EXPECT_FALSE(result.error) << result.reason;
    back = true;
  };
  start_with([] {},
             [&] {
               auto [here, there] = connected_pair(Kind::unix_pair);
               export_context(*next_, here.release(), next_options_, done_again);
               import_context(*old_, there.release(), old_options_, [](const TakeoverResult&) {});
             });
  ASSERT_TRUE(until([&] { return back; }));
  EXPECT_TRUE(echoes(line.peer, "back here"));
  EXPECT_EQ(old_protocol_->imports, 1);
}

}  // namespace
}  // namespace onloop::test
