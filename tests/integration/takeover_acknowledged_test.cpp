// After the acknowledgement. The test stands between the two sides and decides what arrives.
#include <cerrno>

#include "takeover_faults.hpp"
#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverAcknowledged : public TakeoverTest {
 protected:
  void SetUp() override {
    TakeoverTest::SetUp();
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
    line_ = std::make_unique<Line>(join_old());
    exporting_ = std::make_unique<RawTakeoverChannel>(start_export());
    importing_ = std::make_unique<RawTakeoverChannel>(start_import());
    ASSERT_TRUE(until([&] { return exporting_->read(), exporting_->has(Frame::end); }));
    ASSERT_TRUE(importing_->send(exporting_->bytes(), exporting_->fds()));
    both_turn();  // everything is acknowledged
    ASSERT_EQ(next_protocol_->imports, 1);
    ASSERT_TRUE(imported_.empty());
  }
  void TearDown() override {
    inject_nothing();
    line_.reset();
    exporting_.reset();
    importing_.reset();
    TakeoverTest::TearDown();
  }
  [[nodiscard]] ::testing::AssertionResult importing_ends() {
    return until([this] { return !imported_.empty(); });
  }

  std::unique_ptr<Line> line_;
  std::unique_ptr<RawTakeoverChannel> exporting_, importing_;
};
ONLOOP_ON_LOOPS(TakeoverAcknowledged, loops_with_dispatch());

TEST_P(TakeoverAcknowledged, NothingIsServedBeforeGo) {
  line_->peer.send("ping");
  both_turn();
  EXPECT_EQ(next_protocol_->datas + old_protocol_->datas, 0);
  importing_->send(frame(Frame::go));
  ASSERT_TRUE(importing_ends());
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_GT(imported_[0].stall, 0ns);
  ASSERT_TRUE(until([&] { return line_->peer.read(), line_->peer.received() == "ping"; }));
  EXPECT_EQ(next_protocol_->datas, 1);
}

TEST_P(TakeoverAcknowledged, IfTheExportingProcessThenDiesTheyAreServed) {
  old_.reset();
  importing_->read();
  ASSERT_TRUE(importing_->has(Frame::acknowledge));
  importing_->close();
  ASSERT_TRUE(importing_ends());
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "over there"));
}

// The kernel then reports a reset and not the end of the stream. This was once taken for a failure, so nobody served
// the connections.
TEST_P(TakeoverAcknowledged, IfTheExportingProcessThenDiesWithoutHavingReadItTheyAreServed) {
  old_.reset();
  importing_->close();
  ASSERT_TRUE(importing_ends());
  ASSERT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "over there"));
}

TEST_P(TakeoverAcknowledged, IfTheExportingSideGivesUpTheOtherDoesToo) {
  importing_->send(frame(Frame::give_up, "it took too long"));
  importing_->close();
  ASSERT_TRUE(importing_ends());
  EXPECT_TRUE(imported_[0].error);
  EXPECT_NE(imported_[0].reason.find("it took too long"), std::string::npos) << imported_[0].reason;
  exporting_->close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(echoes(line_->peer, "still here"));
  EXPECT_EQ(next_->statistics().connections, 0u);
}

TEST_P(TakeoverAcknowledged, AnythingElseThanGoIsRefused) {
  importing_->send(frame(Frame::end, "12345678"));
  ASSERT_TRUE(importing_ends());
  EXPECT_TRUE(is(imported_[0].error, std::errc::protocol_error)) << imported_[0].reason;
  exporting_->close();
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

// After the acknowledgement, the time-out no longer applies: the exporting side may take longer to send `go`.
TEST_P(TakeoverAcknowledged, TheTimeoutIsOver) {
  importing_->close();
  ASSERT_TRUE(importing_ends());
  imported_.clear();
  next_options_.timeout = 100ms;
  importing_ = std::make_unique<RawTakeoverChannel>(start_import());
  ASSERT_TRUE(importing_->send(exporting_->bytes(), exporting_->fds()));
  ASSERT_TRUE(until([&] { return importing_->read(), importing_->has(Frame::acknowledge); }));
  const auto later = Clock::now() + 120ms;
  ASSERT_TRUE(until([&] { return Clock::now() > later; }));
  EXPECT_TRUE(imported_.empty());
  importing_->send(frame(Frame::go));
  ASSERT_TRUE(importing_ends());
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
}

// The exporting side can send neither `go` nor `give_up`. If it went on serving, both sides would serve.
TEST_P(TakeoverAcknowledged, SilenceAfterItMeansGo) {
  exporting_->send(exporting_->acknowledgement());
  inject(-1, {Fault::Call::send, 1, {ENOBUFS}, true});
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  inject_nothing();
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
  EXPECT_EQ(old_->statistics().connections, 0u);
  importing_->close();
  ASSERT_TRUE(importing_ends());
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "over there"));
}

// The old side has handed over. If the new side took back its acknowledgement, nobody would serve.
TEST_P(TakeoverAcknowledged, AnErrorOfReceivingDoesNotUndoIt) {
  importing_->send(frame(Frame::go));
  for (const int error : {ENOMEM, ENOBUFS, EIO}) {
    inject(-1, {Fault::Call::receive, 1, {error}, true});
    both_turn();
    EXPECT_TRUE(imported_.empty());
  }
  inject_nothing();
  ASSERT_TRUE(importing_ends());
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "over there"));
}

// The exporting side fails while the acknowledgement is in its socket, so the other side is the owner.
TEST_P(TakeoverAcknowledged, AFailingExporterLooksForTheAcknowledgementOnceMore) {
  exporting_->send(exporting_->acknowledgement());
  inject(-1, {Fault::Call::receive, 1, {ENOMEM}, true});
  both_turn();
  inject_nothing();
  old_.reset();  // its context is destroyed at this moment
  exporting_->read();
  EXPECT_TRUE(exporting_->has(Frame::go));
}

TEST_P(TakeoverAcknowledged, AnImportingSideThatHasGoneMeanwhileIsNoOwner) {
  exporting_->send(exporting_->acknowledgement());
  exporting_->close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(exported_[0].error);
  next_.reset();
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

}  // namespace
}  // namespace onloop::test
