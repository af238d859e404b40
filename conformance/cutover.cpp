// A live context moves from loop to loop. Its connections do not notice, and the loop that it leaves keeps nothing of
// it.

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>

#include "conformance/counted_loop.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// The far end of a connection to an echo. It sends numbered lines and reads them back.
class Talker {
 public:
  explicit Talker(Descriptor far) : far_(std::move(far)) {}

  void go_on() {
    constexpr std::size_t kAhead = 100'000;  // bytes on their way, more than one read takes
    while (sent_.size() < received_.size() + kAhead) {
      std::string lines;
      while (lines.size() < 5'000) lines += std::to_string(sent_.size() + lines.size()) + " and so on\n";
      const ssize_t took = ::send(far_.get(), lines.data(), lines.size(), MSG_NOSIGNAL);
      if (took <= 0) break;
      sent_.append(lines, 0, static_cast<std::size_t>(took));
    }
    read();
  }
  void read() {
    for (std::string data = take(far_.get()); !data.empty(); data = take(far_.get())) received_ += data;
  }
  [[nodiscard]] const std::string& sent() const { return sent_; }
  [[nodiscard]] const std::string& received() const { return received_; }
  [[nodiscard]] bool all_back() const { return received_.size() >= sent_.size(); }

 private:
  Descriptor far_;
  std::string sent_;
  std::string received_;
};

/// An echo that counts the connections that it loses.
struct CountingEcho : Echo {
  void on_close(Connection&, std::error_code) override { ++closed; }
  int closed = 0;
};

std::size_t received_by(const std::vector<Talker>& talkers) {
  std::size_t total = 0;
  for (const Talker& talker : talkers) total += talker.received().size();
  return total;
}

}  // namespace

TEST_P(OnContext, C88_moved_to_and_fro_under_traffic_it_loses_no_byte_and_no_connection) {
  std::vector<Loop> route;
  for (const Loop& other : neighbours()) {
    for (const Loop& next : {other, loop()}) route.push_back(next);
  }
  CountingEcho echo;
  std::vector<Talker> talkers;
  Context context{loop()};
  const std::uint16_t port = context.listen("127.0.0.1:0", echo).address().port();
  for (int i = 0; i < 2; ++i) {
    Pair pair = i % 2 ? socket_pair() : tcp_pair();
    context.adopt(pair.near.release(), echo);
    talkers.emplace_back(std::move(pair.far));
  }
  std::size_t next = 0;
  std::size_t mark = 0;
  Timer traffic = context.every(300us, [&] {
    for (Talker& talker : talkers) talker.go_on();
    constexpr std::size_t kServedOnEach = 30'000;
    if (next == route.size() || received_by(talkers) < mark + kServedOnEach) return;
    mark = received_by(talkers);
    if (next == route.size() / 2) talkers.emplace_back(tcp_client(port));  // the listener has moved too
    context.move_to(route[next++]);
  });
  ASSERT_TRUE(anywhere(context, [&] { return next == route.size(); }));
  traffic = context.every(300us, [&] {
    for (Talker& talker : talkers) talker.read();
  });
  ASSERT_TRUE(anywhere(context, [&] {
    return std::all_of(talkers.begin(), talkers.end(), [](const Talker& talker) { return talker.all_back(); });
  }));
  for (const Talker& talker : talkers) EXPECT_EQ(talker.received(), talker.sent());
  EXPECT_EQ(echo.closed, 0);
  EXPECT_EQ(context.statistics().cutovers, route.size());
  EXPECT_EQ(context.statistics().connections, talkers.size());
}

TEST_P(OnContext, C89_timers_keep_their_remaining_time) {
  using Clock = std::chrono::steady_clock;
  std::vector<Loop> route;
  for (const Loop& other : neighbours()) {
    for (const Loop& next : {other, loop()}) route.push_back(next);
  }
  Context context{loop()};
  constexpr int kTimers = 24;
  std::vector<int> order;
  std::vector<Timer> timers;
  const auto set = [&](int number) {  // a higher number means a later timer
    const auto due = Clock::now() + number * 1ms;
    timers.push_back(context.timer(number * 1ms, [&order, due, number] {
      EXPECT_GE(Clock::now(), due) << "timer " << number << " was early";
      order.push_back(number);
    }));
  };
  for (int i = 1; i <= kTimers; ++i) set(i);
  const Timer late = context.timer(1h, [] { ADD_FAILURE() << "a timer of an hour was early"; });
  const auto start = Clock::now();
  int ticks = 0;
  const Timer periodic = context.every(3ms, [&] {
    ++ticks;
    EXPECT_GE(Clock::now(), start + ticks * 3ms) << "tick " << ticks << " was early";
  });
  std::size_t moves = 0;
  const Timer mover = context.every(1ms, [&] { context.move_to(route[moves++ % route.size()]); });
  ASSERT_TRUE(anywhere(context, [&] { return order.size() == kTimers && ticks >= 3; }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end())) << ::testing::PrintToString(order);
  EXPECT_GT(moves, 3u);
}

TEST_P(OnContext, C89_a_move_from_outside_leaves_timers_due_and_pending_as_they_are) {
  for (const Loop& other : neighbours()) {
    Context context{loop()};
    std::string order;
    const Timer first = context.timer(0ns, [&] { order += "1"; });
    const Timer second = context.timer(2ms, [&] { order += "2"; });
    const Timer third = context.timer(4ms, [&] { order += "3"; });
    Timer cancelled = context.timer(0ns, [&] { order += "cancelled"; });
    context.move_to(other);
    cancelled = {};
    ASSERT_TRUE(anywhere(context, [&] { return order.size() >= 3; }));
    EXPECT_EQ(order, "123");
  }
}

TEST_P(OnContext, C91_the_last_loop_keeps_nothing) {
  const Loop elsewhere = neighbours().front();
  host_turns(2);
  const int objects = provider().host_objects();
  Echo echo;
  Context context{elsewhere};
  context.listen("127.0.0.1:0", echo);
  Pair pair = socket_pair();
  context.adopt(pair.near.release(), echo);
  const Pair watched = socket_pair();
  int reads = 0;
  const Watch watch = context.watch(watched.near.get(), Interest::read, [&](Interest) {
    take(watched.near.get());
    ++reads;
  });
  const Timer timer = context.timer(1h, [] {});
  const auto serves = [&] {
    const int before = reads;
    std::string echoed;
    return put(watched.far.get()) && put(pair.far.get(), "ping") && anywhere(context, [&] {
             echoed += take(pair.far.get());
             return reads > before && echoed == "ping";
           });
  };
  ASSERT_TRUE(serves());
  const test::ProcessState process = test::ProcessState::take();
  for (int i = 0; i < 2; ++i) {
    context.move_to(loop());
    EXPECT_TRUE(same_loop(context.loop(), loop()));
    ASSERT_TRUE(serves());
    context.move_to(elsewhere);
    EXPECT_TRUE(same_loop(context.loop(), elsewhere));
    host_turns(2);  // a host may need another turn to release closed handles
    EXPECT_EQ(provider().host_objects(), objects);
    EXPECT_EQ(process.difference_to(test::ProcessState::take()), "");
    const int before = reads;
    ASSERT_TRUE(put(watched.far.get()));
    host_turns();
    if (!elsewhere.foreign()) {
      EXPECT_EQ(reads, before) << "the loop that was left still serves";
    }
    ASSERT_TRUE(serves());
  }
}

TEST_P(OnContext, C91_every_watch_and_attachment_is_taken_back) {
  CountedLoop counted{loop()};
  Echo echo;
  const Pair pair = socket_pair();
  Pair line = socket_pair();
  Context context{counted.loop()};
  context.adopt(line.near.release(), echo);
  const Watch silent = context.watch(pair.near.get(), Interest::none, [](Interest) {});
  const Timer timer = context.timer(1h, [] {});
  EXPECT_GT(counted.watches, 0);
  for (const Loop& other : neighbours()) {
    if (same_loop(other, counted.loop())) continue;
    context.move_to(other);
    EXPECT_EQ(counted.attached, 0);
    EXPECT_EQ(counted.watches, 0);
    const int calls = counted.calls;
    ASSERT_TRUE(put(line.far.get()));
    ASSERT_TRUE(anywhere(context, [&] { return !take(line.far.get()).empty(); }));
    EXPECT_EQ(counted.calls, calls) << "a slot of the last loop is called";
    context.move_to(counted.loop());
    EXPECT_EQ(counted.attached, 1);
  }
}

TEST_P(OnContext, C95_to_the_same_loop_with_the_same_hosting_nothing_happens) {
  CountedLoop counted{loop()};
  Context context{counted.loop()};
  const Timer timer = context.timer(1h, [] {});
  const int calls = counted.calls;
  const int attached = counted.attached;
  context.move_to(counted.loop());
  context.move_to(context.loop());
  EXPECT_EQ(counted.calls, calls);
  bool moved = false;
  bool same_turn = false;
  context.post([&] {
    const int before = counted.calls;
    context.move_to(counted.loop());
    EXPECT_EQ(counted.calls, before);
    moved = true;
  });
  context.post([&] { same_turn = moved; });
  ASSERT_TRUE(anywhere(context, [&] { return moved && same_turn; }));
  EXPECT_EQ(counted.attached, attached);
  EXPECT_EQ(context.statistics().cutovers, 0u);
}

TEST_P(OnContext, C95a_between_direct_and_aggregate_on_one_loop) {
  const Loop direct = loop().direct();
  const Loop aggregate = loop().aggregate();
  Echo echo;
  Pair pair = socket_pair();
  Context context{loop()};
  context.adopt(pair.near.release(), echo);
  int ticks = 0;
  const Timer timer = context.every(1ms, [&] { ++ticks; });
  const auto serves = [&] {
    const int before = ticks;
    std::string echoed;
    return put(pair.far.get(), "ping") && anywhere(context, [&] {
             echoed += take(pair.far.get());
             return ticks > before && echoed == "ping";
           });
  };
  for (int i = 0; i < 2; ++i) {
    for (const Loop& next : {direct, aggregate}) {
      context.move_to(next);
      EXPECT_EQ(context.loop().hosting(), next.hosting());
      ASSERT_TRUE(serves());
    }
  }
  EXPECT_EQ(context.statistics().cutovers, loop().hosting() == Hosting::direct ? 3u : 4u);
}

}  // namespace onloop::conformance
