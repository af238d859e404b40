#include "takeover_pair.hpp"

#include <algorithm>

namespace onloop::test {

Loop TakeoverTest::another_loop() const {
  const std::vector<LoopCase> loops = loops_with_dispatch();
  const auto here =
      std::find_if(loops.begin(), loops.end(), [](const LoopCase& loop) { return loop.name == GetParam().name; });
  return (here == loops.end() || here + 1 == loops.end() ? loops.front() : here[1]).make();
}

void TakeoverTest::SetUp() {
  LoopTest::SetUp();
  old_ = std::make_unique<Context>(GetParam().make());
  next_ = std::make_unique<Context>(another_loop());
  old_protocol_ = std::make_unique<Traveller>();
  next_protocol_ = std::make_unique<Traveller>();
  old_options_.protocols.push_back(member("traveller", *old_protocol_));
  next_options_.protocols.push_back(member("traveller", *next_protocol_));
}

void TakeoverTest::TearDown() {
  old_.reset();
  next_.reset();
  LoopTest::TearDown();
}

::testing::AssertionResult TakeoverTest::until(const std::function<bool()>& done) {
  const auto limit = Clock::now() + 8s;
  while (!done()) {
    if (Clock::now() > limit) return ::testing::AssertionFailure() << "not reached within 8 s";
    if (before_turn_) before_turn_();
    both_turn(1);
  }
  return ::testing::AssertionSuccess();
}

void TakeoverTest::both_turn(int count) {
  for (; count > 0; --count) {
    if (old_) turns(*old_, 1);
    if (next_) turns(*next_, 1);
  }
}

void TakeoverTest::start() {
  auto [here, there] = connected_pair(Kind::unix_pair);
  export_context(*old_, here.get(), old_options_,
                 [this](const TakeoverResult& result) { exported_.push_back(result); });
  static_cast<void>(here.release());
  import_context(*next_, there.get(), next_options_,
                 [this](const TakeoverResult& result) { imported_.push_back(result); });
  static_cast<void>(there.release());
}

RawTakeoverChannel TakeoverTest::start_export() {
  auto [here, there] = connected_pair(Kind::unix_pair);
  export_context(*old_, here.get(), old_options_,
                 [this](const TakeoverResult& result) { exported_.push_back(result); });
  static_cast<void>(here.release());
  return RawTakeoverChannel(std::move(there));
}

RawTakeoverChannel TakeoverTest::start_import() {
  auto [here, there] = connected_pair(Kind::unix_pair);
  import_context(*next_, here.get(), next_options_,
                 [this](const TakeoverResult& result) { imported_.push_back(result); });
  static_cast<void>(here.release());
  return RawTakeoverChannel(std::move(there));
}

::testing::AssertionResult TakeoverTest::take_over() {
  start();
  if (const auto over = until([this] { return !exported_.empty() && !imported_.empty(); }); !over) return over;
  if (exported_[0].error) return ::testing::AssertionFailure() << "exporting: " << exported_[0].reason;
  if (imported_[0].error) return ::testing::AssertionFailure() << "importing: " << imported_[0].reason;
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult TakeoverTest::both_fail() {
  if (const auto over = until([this] { return !exported_.empty() && !imported_.empty(); }); !over) return over;
  if (!exported_[0].error || exported_[0].reason.empty()) return ::testing::AssertionFailure() << "exported";
  if (!imported_[0].error || imported_[0].reason.empty()) return ::testing::AssertionFailure() << "imported";
  return ::testing::AssertionSuccess();
}

Line TakeoverTest::join_old(Limits limits, Kind kind) {
  const int opens = old_protocol_->opens;
  Line line = join(*old_, *old_protocol_, limits, kind);
  EXPECT_TRUE(until([&] { return old_protocol_->opens > opens; }));
  return line;
}

::testing::AssertionResult TakeoverTest::echoes(Peer& peer, const std::string& text) {
  const std::string expected = peer.received() + text;
  peer.send(text);
  const auto came = until([&] {
    peer.read();
    return peer.received().size() >= expected.size() || peer.over();
  });
  if (!came) return came;
  if (peer.over()) return ::testing::AssertionFailure() << "the connection has ended, error " << peer.error();
  if (peer.received() != expected) return ::testing::AssertionFailure() << "other bytes came back";
  return ::testing::AssertionSuccess();
}

}  // namespace onloop::test
