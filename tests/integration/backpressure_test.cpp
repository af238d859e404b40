// What a peer that sends and does not read can make a connection hold.
#include "drive.hpp"

namespace onloop::test {
namespace {

class Backpressure : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Backpressure);

Limits small_marks(bool pause_when_full) {
  Limits limits;
  limits.high_water = 10'000;
  limits.low_water = 2'000;
  limits.pause_reading_when_full = pause_when_full;
  return limits;
}

void fill(Connection& connection) {
  const std::string piece(5000, 'x');
  while (connection.write(piece) == Flow::go) {
  }
}

TEST_P(Backpressure, AboveTheHighWaterMarkReadingPausesUntilTheLowWaterMark) {
  Line line = join(context(), recorder_, small_marks(true), Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  fill(connection);
  peer.send("request");
  turns(context(), 50);
  EXPECT_EQ(recorder_.datas, 0) << "the queue is full";
  std::size_t queued_at_data = SIZE_MAX;
  recorder_.when_data = [&](Connection& reading, std::string_view) { queued_at_data = reading.queued_bytes(); };
  ASSERT_TRUE(run_until(context(), [&] { return peer.read(), recorder_.datas > 0; }));
  EXPECT_EQ(recorder_.received, "request");
  EXPECT_LE(queued_at_data, 2'000u);
  EXPECT_EQ(recorder_.drains, 1);
}

TEST_P(Backpressure, ReadingGoesOnAboveTheMarkWhenThePauseIsTurnedOff) {
  const Line line = join(context(), recorder_, small_marks(false), Kind::unix_pair);
  turns(context());
  fill(line.connection);
  line.peer.send("request");
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.datas > 0; }));
  EXPECT_GT(line.connection.queued_bytes(), 10'000u);
}

TEST_P(Backpressure, APauseByTheApplicationOutlastsBackpressure) {
  Line line = join(context(), recorder_, small_marks(true), Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  connection.pause_reading();
  fill(connection);
  peer.send("request");
  ASSERT_TRUE(
      run_until(context(), [&] { return peer.read(), recorder_.drains == 1 && connection.queued_bytes() == 0; }));
  turns(context(), 50);
  EXPECT_EQ(recorder_.datas, 0) << "the application's pause still stands";
  connection.resume_reading();
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.received == "request"; }));
}

TEST_P(Backpressure, ResumingByTheApplicationDoesNotReadAboveTheMark) {
  Line line = join(context(), recorder_, small_marks(true), Kind::unix_pair);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  turns(context());
  fill(connection);
  connection.pause_reading();
  peer.send("request");
  connection.resume_reading();
  turns(context(), 50);
  EXPECT_EQ(recorder_.datas, 0);
  EXPECT_TRUE(run_until(context(), [&] { return peer.read(), recorder_.received == "request"; }));
}

// Writes until Flow::wait, goes on in on_drain, and reads whatever comes.
class Streaming : public Recorder {
 public:
  explicit Streaming(std::size_t total) : left(total) {
    when_open = [this](Connection& connection) { write(connection); };
    when_drain = [this](Connection& connection) { write(connection); };
    when_data = [this](Connection&, std::string_view data) { got += data.size(); };
  }
  void write(Connection& connection) {
    static const std::string piece(100'000, 'x');
    while (left > 0) {
      const std::size_t count = std::min(left, piece.size());
      left -= count;
      if (connection.write(std::string_view(piece).substr(0, count)) != Flow::go) return;
    }
  }
  std::size_t left;
  std::size_t got = 0;
};

// If each peer stopped reading above its high-water mark, the two would wait for each other for ever.
TEST_P(Backpressure, TwoPeersThatBothWriteMuchGoOn) {
  constexpr std::size_t kTotal = 20'000'000;
  Streaming one(kTotal);
  Streaming other(kTotal);
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", one);
  context.connect(listener.address().to_string(), other);
  EXPECT_TRUE(run_until(context, [&] { return one.got == kTotal && other.got == kTotal; }))
      << one.got << ' ' << other.got;
}

TEST_P(Backpressure, AClientThatObeysItsFlowAndAnEchoGoOn) {
  constexpr std::size_t kTotal = 20'000'000;
  Streaming client(kTotal);
  Echo echo;
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", echo);
  context.connect(listener.address().to_string(), client);
  EXPECT_TRUE(run_until(context, [&] { return client.got == kTotal; })) << client.got;
}

// The proxy pauses one side while the other side is full, as a proxy should.
TEST_P(Backpressure, AProxyBeforeAnEchoGoesOn) {
  constexpr std::size_t kTotal = 10'000'000;
  Streaming client(kTotal);
  Echo echo;
  Recorder front;
  Recorder back;
  Ref to_client;
  Ref to_server;
  Context context{GetParam().make()};
  const std::string server = context.listen("127.0.0.1:0", echo).address().to_string();
  front.when_open = [&](Connection& connection) {
    to_client = connection.ref();
    to_server = context.connect(server, back).ref();
  };
  front.when_data = [&](Connection& from, std::string_view data) {
    if (to_server->write(data) == Flow::wait) from.pause_reading();
  };
  back.when_data = [&](Connection& from, std::string_view data) {
    if (to_client->write(data) == Flow::wait) from.pause_reading();
  };
  front.when_drain = [&](Connection&) { to_server->resume_reading(); };
  back.when_drain = [&](Connection&) { to_client->resume_reading(); };
  context.connect(context.listen("127.0.0.1:0", front).address().to_string(), client);
  EXPECT_TRUE(run_until(context, [&] { return client.got == kTotal; })) << client.got;
}

// Another callback of the same turn may fill the queue again.
TEST_P(Backpressure, OnDrainComesOnlyAtOrBelowTheLowWaterMark) {
  Recorder recorder;
  std::size_t most_at_drain = 0;
  recorder.when_drain = [&](Connection& connection) {
    most_at_drain = std::max(most_at_drain, connection.queued_bytes());
  };
  Context context{GetParam().make()};
  Line line = join(context, recorder, small_marks(false), Kind::unix_pair);
  turns(context);
  recorder.when_data = [&](Connection& connection, std::string_view) { fill(connection); };
  fill(line.connection);
  for (int i = 0; i < 20; ++i) {
    line.peer.read();
    line.peer.send("more");
    turns(context);
  }
  ASSERT_TRUE(run_until(context, [&] { return line.peer.read(), line.connection.queued_bytes() == 0; }));
  ASSERT_TRUE(run_until(context, [&] { return recorder.drains > 0; }));
  EXPECT_LE(most_at_drain, 2'000u);
}

// An Echo that notes the largest number of bytes that was ever queued for a client.
class MeasuredEcho : public Echo {
 public:
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    Echo::on_data(connection, data);
    most_queued = std::max(most_queued, connection.queued_bytes());
    ++datas;
  }
  void on_close(Connection&, std::error_code error) override {
    ++closes;
    last_error = error;
  }
  std::size_t most_queued = 0;
  int datas = 0;
  int closes = 0;
  std::error_code last_error;
};

TEST_P(Backpressure, EchoHoldsNoMoreThanTheHighWaterMarkAndOneReadBufferForAClientThatNeverReads) {
  constexpr std::size_t kReadBuffer = 16 * 1024;
  MeasuredEcho echo;
  ContextOptions options;
  options.read_buffer = kReadBuffer;
  Context context{GetParam().make(), options};
  const Limits limits;
  Line line = join(context, echo, limits);
  Peer& peer = line.peer;
  Connection& connection = line.connection;
  const std::string chunk = pattern(100'000);
  std::size_t sent = 0;
  int stuck = 0;  // turns of the loop without progress, in a row
  ASSERT_TRUE(run_until(context, [&] {
    const std::size_t more = peer.send(chunk);
    sent += more;
    stuck = more == 0 ? stuck + 1 : 0;
    return stuck > 20;
  }));
  EXPECT_GT(echo.most_queued, limits.high_water) << "the client was never too slow";
  EXPECT_LE(echo.most_queued, limits.high_water + kReadBuffer);
  EXPECT_LE(connection.queued_bytes(), limits.high_water + kReadBuffer);
  const int datas = echo.datas;
  turns(context, 50);
  EXPECT_EQ(echo.datas, datas) << "it reads on";
}

TEST_P(Backpressure, AllBytesComeWhenAClientThatDidNotReadReadsOn) {
  MeasuredEcho echo;
  Context context{GetParam().make()};
  Line line = join(context, echo);
  Peer& peer = line.peer;
  const std::string all = pattern(24'000'000);
  std::string_view rest = all;
  int stuck = 0;
  ASSERT_TRUE(run_until(context, [&] {
    const std::size_t more = peer.send(rest.substr(0, 500'000));
    rest.remove_prefix(more);
    stuck = more == 0 ? stuck + 1 : 0;
    return stuck > 20 || rest.empty();
  }));
  ASSERT_FALSE(rest.empty()) << "the kernel took it all";
  ASSERT_TRUE(run_until(context, [&] {
    peer.read(1'000'000);
    rest.remove_prefix(peer.send(rest));
    return peer.received().size() >= all.size();
  }));
  EXPECT_TRUE(peer.received() == all);
  EXPECT_EQ(echo.closes, 0);
}

TEST_P(Backpressure, OthersAreServedMeanwhile) {
  MeasuredEcho echo;
  Context context{GetParam().make()};
  const Line stuck = join(context, echo);
  Line line = join(context, echo);
  Peer& lively = line.peer;
  const std::string flood(500'000, 'x');
  lively.send("hello");
  EXPECT_TRUE(run_until(context, [&] {
    stuck.peer.send(flood);
    lively.read();
    return lively.received() == "hello" && stuck.connection.queued_bytes() > Limits{}.high_water;
  }));
}

TEST_P(Backpressure, EchoSendsTheRestAndClosesWhenTheClientEnds) {
  MeasuredEcho echo;
  Context context{GetParam().make()};
  Line line = join(context, echo);
  Peer& peer = line.peer;
  const std::string all = pattern(5'000'000);
  std::string_view rest = all;
  bool finished = false;
  ASSERT_TRUE(run_until(context, [&] {
    rest.remove_prefix(peer.send(rest));
    if (rest.empty() && !finished) {
      peer.finish();
      finished = true;
    }
    peer.read(200'000);
    return peer.over();
  }));
  EXPECT_TRUE(peer.received() == all);
  EXPECT_TRUE(peer.ended());
  ASSERT_TRUE(run_until(context, [&] { return echo.closes == 1; }));
  EXPECT_FALSE(echo.last_error) << echo.last_error.message();
}

}  // namespace
}  // namespace onloop::test
