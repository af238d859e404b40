// Messages are lost, and the kernel refuses calls. At every instant, at most one of the two sides is the owner. At the
// end, one of them is the owner. docs/takeover.md has the table.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "takeover_faults.hpp"
#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

enum class Side { old, next };

const std::vector<int> kErrors{EINTR,    ENOMEM, ENOBUFS, EAGAIN, EPIPE, ECONNRESET, ETOOMANYREFS,
                               ENOTCONN, EIO,    EPERM,   EMFILE, EBADF, ENOSYS,     EPROTO};

class TakeoverLosses : public TakeoverTest {
 protected:
  static constexpr auto kTimeout = 500ms;  // a busy machine must have sent everything before it
  void SetUp() override {
    TakeoverTest::SetUp();
    prepare();
  }
  void TearDown() override {
    inject_nothing();
    line_.reset();
    TakeoverTest::TearDown();
    give_clock_back();
  }
  void prepare() {
    old_protocol_->when_data = next_protocol_->when_data = echo_back;
    listener_ = &old_->listen("127.0.0.1:0", *old_protocol_);
    line_ = std::make_unique<Line>(join_old());
  }
  /// Makes both contexts again, as at the beginning.
  void anew() {
    inject_nothing();
    line_.reset();
    old_ = std::make_unique<Context>(GetParam().make());
    next_ = std::make_unique<Context>(another_loop());
    exported_.clear();
    imported_.clear();
    prepare();
  }
  /// What the sides wait for comes at once: each turn of until() takes 5 ms by the clock, after which a side tries
  /// again.
  void let_time_fly() {
    before_turn_ = [] { move_clock_on(5ms); };
  }
  /// Starts both sides, one of them with this fault.
  void start_with(Side side, Fault fault) {
    auto [here, there] = connected_pair(Kind::unix_pair);
    inject(side == Side::old ? here.get() : there.get(), std::move(fault));
    export_context(*old_, here.release(), old_options_,
                   [this](const TakeoverResult& result) { exported_.push_back(result); });
    import_context(*next_, there.release(), next_options_,
                   [this](const TakeoverResult& result) { imported_.push_back(result); });
  }
  /// The old context sends everything to the test, which does not acknowledge.
  RawTakeoverChannel sent_in_full() {
    auto [here, there] = connected_pair(Kind::unix_pair);
    end_of_context_ = here.get();
    export_context(*old_, here.release(), old_options_,
                   [this](const TakeoverResult& result) { exported_.push_back(result); });
    RawTakeoverChannel channel(std::move(there));
    EXPECT_TRUE(until([&] { return channel.read(), channel.has(Frame::end); }));
    return channel;
  }
  /// The next context gets everything that the old one has sent to `exporting`, and acknowledges.
  RawTakeoverChannel acknowledged(const RawTakeoverChannel& exporting) {
    auto [here, there] = connected_pair(Kind::unix_pair);
    end_of_context_ = here.get();
    import_context(*next_, here.release(), next_options_,
                   [this](const TakeoverResult& result) { imported_.push_back(result); });
    RawTakeoverChannel channel(std::move(there));
    EXPECT_TRUE(channel.send(exporting.bytes(), exporting.fds()));
    EXPECT_TRUE(until([&] { return channel.read(), channel.has(Frame::acknowledge); }));
    return channel;
  }
  [[nodiscard]] ::testing::AssertionResult one_owner() {
    if (auto over = until([this] { return !exported_.empty() && !imported_.empty(); }); !over) {
      return over << "; exporting has " << (exported_.empty() ? "not " : "") << "ended, importing has "
                  << (imported_.empty() ? "not " : "") << "ended";
    }
    inject_nothing();
    const bool old_serves = static_cast<bool>(exported_[0].error);
    const bool next_serves = !imported_[0].error;
    const std::string reasons = "\nexporting: " + exported_[0].reason + "\nimporting: " + imported_[0].reason;
    if (old_serves && next_serves) return ::testing::AssertionFailure() << "both serve" << reasons;
    if (!old_serves && !next_serves) return ::testing::AssertionFailure() << "nobody serves" << reasons;
    const std::size_t theirs = (old_serves ? *next_ : *old_).statistics().connections;
    if (theirs > 0) return ::testing::AssertionFailure() << "who does not serve has the connection" << reasons;
    if (auto echoed = echoes(line_->peer, "served"); !echoed) return echoed << reasons;
    return ::testing::AssertionSuccess();
  }
  /// Makes one takeover for each call at which the fault can begin.
  void at_each_call(Side side, Fault fault) {
    for (fault.first = 1;; ++fault.first) {
      anew();
      start_with(side, fault);
      ASSERT_TRUE(one_owner()) << (side == Side::old ? "exporting" : "importing") << ", call "
                               << static_cast<int>(fault.call) << ", error " << fault.errors[0] << " at "
                               << fault.first;
      if (calls_since_injection() < fault.first) break;
      ASSERT_LT(fault.first, 100);
    }
  }

  Listener* listener_ = nullptr;
  std::unique_ptr<Line> line_;
  int end_of_context_ = -1;  // the descriptor of the takeover in a context, which owns it; the faults are for it
};
ONLOOP_ON_LOOPS(TakeoverLosses, loops_with_dispatch());

/// Each of these tests takes a second, so they run on one loop only.
class TakeoverLossesForGood : public TakeoverLosses {};
ONLOOP_ON_LOOPS(TakeoverLossesForGood, std::vector<LoopCase>{loops_with_dispatch().front()});

// ---- every error, at every call, once and several times ----

TEST_P(TakeoverLosses, AnErrorOfSending) {
  let_time_fly();
  for (const Side side : {Side::old, Side::next}) {
    for (const int error : kErrors) {
      at_each_call(side, {Fault::Call::send, 1, {error}});
      at_each_call(side, {Fault::Call::send, 1, {error, error, error}});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TakeoverLosses, AnErrorOfReceiving) {
  let_time_fly();
  for (const Side side : {Side::old, Side::next}) {
    for (const int error : kErrors) {
      at_each_call(side, {Fault::Call::receive, 1, {error}});
      at_each_call(side, {Fault::Call::receive, 1, {error, error, error}});
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TakeoverLosses, AnEndThatIsNone) {
  for (const Side side : {Side::old, Side::next}) at_each_call(side, {Fault::Call::receive, 1, {Fault::kEnd}});
}

TEST_P(TakeoverLosses, AByteAtATimeAndThenAnError) {
  let_time_fly();
  for (const Side side : {Side::old, Side::next}) {
    at_each_call(side, {Fault::Call::send, 1, {Fault::kShort}});
    for (const int error : {ENOBUFS, EPIPE, EIO}) {
      at_each_call(side, {Fault::Call::send, 1, {Fault::kShort, error, error}});
      if (HasFatalFailure()) return;
    }
  }
}

// ---- the exporting side's time-out and the acknowledgement ----

TEST_P(TakeoverLosses, AfterATimeoutNoAcknowledgementArrives) {
  old_options_.timeout = kTimeout;
  RawTakeoverChannel channel = sent_in_full();
  let_time_fly();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::timed_out)) << exported_[0].reason;
  EXPECT_FALSE(channel.send(channel.acknowledgement()));
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

TEST_P(TakeoverLosses, ATimeoutThatFindsTheAcknowledgementHandsOver) {
  old_options_.timeout = kTimeout;
  RawTakeoverChannel channel = sent_in_full();
  let_time_fly();
  constexpr int kTries = kTimeout / 5ms + 10;  // it is unreadable until the time-out
  inject(end_of_context_, {Fault::Call::receive, 1, std::vector<int>(kTries, ENOMEM)});
  ASSERT_TRUE(channel.send(channel.acknowledgement()));
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
  EXPECT_TRUE((channel.read(), channel.has(Frame::go)));
  EXPECT_EQ(old_->statistics().connections, 0u);
}

TEST_P(TakeoverLosses, AProcessThatMayStillAcknowledgeIsToldBeforeTheOldOneServes) {
  old_options_.timeout = kTimeout;
  RawTakeoverChannel channel = sent_in_full();
  let_time_fly();
  inject(end_of_context_, {Fault::Call::shutdown, 1, {EIO}, true});
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::timed_out)) << exported_[0].reason;
  EXPECT_TRUE((channel.read(), channel.has(Frame::give_up)));
  inject_nothing();
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

// ---- a listener that the application has closed ----

TEST_P(TakeoverLosses, AClosedListenerIsToldThoughItWasAcknowledged) {
  RawTakeoverChannel exporting = sent_in_full();
  listener_->close();
  inject(end_of_context_, {Fault::Call::send, 1, {ENOBUFS, ENOBUFS, ENOBUFS}});
  ASSERT_TRUE(exporting.send(exporting.acknowledgement()));
  bool served_early = false;
  ASSERT_TRUE(until([&] {
    exporting.read();
    served_early = served_early || (!exporting.has(Frame::give_up) && line_->connection.write("") != Flow::closed);
    return !exported_.empty();
  }));
  EXPECT_FALSE(served_early) << "before the other side knew";

  EXPECT_TRUE(is(exported_[0].error, std::errc::operation_canceled)) << exported_[0].reason;
  exporting.read();
  EXPECT_TRUE(exporting.has(Frame::give_up));
  EXPECT_FALSE(exporting.has(Frame::go));
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

TEST_P(TakeoverLosses, AClosedListenerThatNobodyCanBeToldOfGoesOver) {
  RawTakeoverChannel exporting = sent_in_full();
  listener_->close();
  inject(end_of_context_, {Fault::Call::send, 1, {ENOBUFS}, true});
  ASSERT_TRUE(exporting.send(exporting.acknowledgement()));
  let_time_fly();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
  EXPECT_EQ(old_->statistics().connections, 0u);
}

// ---- the importing side, after its acknowledgement ----

TEST_P(TakeoverLosses, AnErrorThatLooksLikeAnEndIsNotAnEnd) {
  RawTakeoverChannel exporting = sent_in_full();
  RawTakeoverChannel importing = acknowledged(exporting);
  for (const int fault : {ECONNRESET, Fault::kEnd}) {
    inject(end_of_context_, {Fault::Call::receive, 1, {fault}});
    importing.send(frame(Frame::go).substr(fault == ECONNRESET ? 0 : 4, 4));  // half of it, so that it is read
    ASSERT_TRUE(until([&] { return calls_since_injection() > 0; }));
    both_turn();
    if (fault == ECONNRESET) {
      ASSERT_TRUE(imported_.empty()) << "the other side may still say that it gave up";
    }
  }
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "over there"));
}

TEST_P(TakeoverLossesForGood, AnUnreadableAnswerIsToldByItsLength) {
  let_time_fly();
  for (const Frame word : {Frame::go, Frame::give_up}) {
    anew();
    RawTakeoverChannel exporting = sent_in_full();
    RawTakeoverChannel importing = acknowledged(exporting);
    inject(end_of_context_, {Fault::Call::receive, 1, {EIO}, true});
    importing.send(frame(word, word == Frame::go ? "" : "why"));
    importing.close();
    ASSERT_TRUE(until([&] { return !imported_.empty(); }));
    EXPECT_EQ(!imported_[0].error, word == Frame::go) << imported_[0].reason;
  }
}

// ---- the exporting side is stopped, or stuck, after the acknowledgement ----

TEST_P(TakeoverLossesForGood, ASilentPredecessorIsNotWaitedForAndHandsOverWhenItGoesOn) {
  for (const bool is_there : {true, false}) {
    anew();
    auto [here, there] = connected_pair(Kind::unix_pair);
    export_context(*old_, here.release(), old_options_,
                   [this](const TakeoverResult& result) { exported_.push_back(result); });
    import_context(*next_, there.release(), next_options_,
                   [this](const TakeoverResult& result) { imported_.push_back(result); });
    const int exports = old_protocol_->exports;
    turns(*old_, 1);
    ASSERT_EQ(old_protocol_->exports, exports + 1);
    const auto begin = Clock::now();
    for (; imported_.empty() && Clock::now() - begin < 20s; move_clock_on(5ms)) turns(*next_, 1);
    ASSERT_FALSE(imported_.empty());
    EXPECT_FALSE(imported_[0].error) << imported_[0].reason;
    EXPECT_GE(Clock::now() - begin, 10s);
    line_->peer.send("over there");
    while (line_->peer.received() != "over there" && Clock::now() - begin < 20s) {
      turns(*next_, 1);
      line_->peer.read();
    }
    EXPECT_EQ(line_->peer.received(), "over there");
    // The time-out of the old context has passed, too. It may find that its successor has gone. The successor has
    // served before.
    if (!is_there) next_.reset();
    ASSERT_TRUE(until([&] { return !exported_.empty(); }));
    EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
    EXPECT_EQ(old_->statistics().connections, 0u);
  }
}

TEST_P(TakeoverLossesForGood, APredecessorThatListensNoMoreIsWaitedFor) {
  RawTakeoverChannel exporting = sent_in_full();
  RawTakeoverChannel importing = acknowledged(exporting);
  importing.hear_no_more();
  const auto begin = Clock::now();
  for (; Clock::now() - begin < 11s; move_clock_on(5ms)) turns(*next_, 1);
  EXPECT_TRUE(imported_.empty());
  importing.send(frame(Frame::give_up, "not yet"));
  ASSERT_TRUE(until([&] { return !imported_.empty(); }));
  EXPECT_NE(imported_[0].reason.find("not yet"), std::string::npos) << imported_[0].reason;
}

TEST_P(TakeoverLosses, ASuccessorThatHasServedAndGoneWasTheOwner) {
  RawTakeoverChannel channel = sent_in_full();
  ASSERT_TRUE(channel.send(channel.acknowledgement() + frame(Frame::go)));
  channel.close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_FALSE(exported_[0].error) << exported_[0].reason;
  EXPECT_EQ(old_->statistics().connections, 0u);
}

TEST_P(TakeoverLosses, ASuccessorThatSaysItServesWithoutAnAcknowledgementIsNotBelieved) {
  RawTakeoverChannel channel = sent_in_full();
  ASSERT_TRUE(channel.send(frame(Frame::go)));
  channel.close();
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::protocol_error)) << exported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

// ---- errors that stay ----

TEST_P(TakeoverLossesForGood, AnErrorThatStays) {
  let_time_fly();
  old_options_.timeout = next_options_.timeout = 100ms;
  for (const Side side : {Side::old, Side::next}) {
    for (const int error : {EINTR, ENOBUFS, EPIPE, ECONNRESET, EIO}) {
      at_each_call(side, {Fault::Call::send, 1, {error}, true});
      at_each_call(side, {Fault::Call::receive, 1, {error}, true});
      if (HasFatalFailure()) return;
    }
  }
}

// ---- sides that send very slowly ----

/// Sends a byte whenever the time-out of 20 ms has nearly passed.
class Dribble {
 public:
  Dribble(const RawTakeoverChannel& channel, std::string bytes) : channel_(channel), bytes_(std::move(bytes)) {}
  void go_on() {
    if (at_ == bytes_.size() || Clock::now() < next_) return;
    channel_.send(std::string_view(bytes_).substr(at_++, 1));
    next_ = Clock::now() + 10ms;
  }
  [[nodiscard]] bool done() const { return at_ == bytes_.size(); }

 private:
  const RawTakeoverChannel& channel_;
  const std::string bytes_;
  std::size_t at_ = 0;
  Clock::time_point next_;
};

TEST_P(TakeoverLosses, AnAcknowledgementThatTricklesInIsNotWaitedForAnyLonger) {
  old_options_.timeout = 100ms;
  RawTakeoverChannel channel = sent_in_full();
  Dribble dribble(channel, channel.acknowledgement());
  ASSERT_TRUE(until([&] { return dribble.go_on(), !exported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::timed_out)) << exported_[0].reason;
  EXPECT_FALSE(dribble.done());
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

TEST_P(TakeoverLosses, RecordsThatTrickleInAreNotWaitedForAnyLonger) {
  const RawTakeoverChannel exporting = sent_in_full();
  next_options_.timeout = 20ms;
  const RawTakeoverChannel importing = start_import();
  Dribble dribble(importing, exporting.bytes());
  ASSERT_TRUE(until([&] { return dribble.go_on(), !imported_.empty(); }));
  EXPECT_TRUE(is(imported_[0].error, std::errc::timed_out)) << imported_[0].reason;
}

// ---- sides that have read nothing ----

TEST_P(TakeoverLosses, AnAcknowledgementFromAProcessThatHasReadNothing) {
  for (const std::string& said : {std::string(), std::string(16, '\0'), std::string(17, '\0')}) {
    anew();
    RawTakeoverChannel channel = start_export();
    both_turn();  // all is in its socket
    ASSERT_TRUE(channel.send(frame(Frame::acknowledge, said)));
    ASSERT_TRUE(until([&] { return !exported_.empty(); }));
    EXPECT_TRUE(is(exported_[0].error, std::errc::protocol_error)) << exported_[0].reason;
    EXPECT_TRUE(echoes(line_->peer, "still here"));
    channel.read();
    EXPECT_TRUE(channel.has(Frame::end));
    EXPECT_FALSE(channel.has(Frame::go));
  }
}

TEST_P(TakeoverLosses, AnAcknowledgementOfAnotherTakeover) {
  std::string earlier;
  {
    RawTakeoverChannel channel = sent_in_full();
    earlier = channel.acknowledgement();
    channel.close();
    ASSERT_TRUE(until([&] { return !exported_.empty(); }));
    exported_.clear();
  }
  RawTakeoverChannel channel = sent_in_full();
  EXPECT_NE(earlier, channel.acknowledgement());
  ASSERT_TRUE(channel.send(earlier));
  ASSERT_TRUE(until([&] { return !exported_.empty(); }));
  EXPECT_TRUE(is(exported_[0].error, std::errc::protocol_error)) << exported_[0].reason;
  EXPECT_TRUE(echoes(line_->peer, "still here"));
}

}  // namespace
}  // namespace onloop::test
