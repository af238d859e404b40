#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <onloop/node/phases.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// @return How many descriptors a test may open: thousands if the limit allows it.
std::size_t many(std::size_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return std::min<std::size_t>(wanted, (static_cast<std::size_t>(limit.rlim_cur) - 64) / 2);
}

std::uint64_t processor_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

TEST_P(OnContext, C69_a_busy_guest_does_not_starve_the_applications_timers_and_descriptors) {
  const Pair pair = socket_pair();
  const Pair application = socket_pair();
  Context context{loop()};
  ASSERT_TRUE(put(pair.far.get()));
  ASSERT_TRUE(put(application.far.get()));
  int busy = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::both, [&](Interest) { ++busy; });  // always ready
  int of_timer = 0;
  int of_descriptor = 0;
  std::function<void()> again = [&] {
    ++of_timer;
    provider().call_from_application(again);
  };
  provider().call_from_application(again);
  provider().watch_from_application(application.near.get(), [&] { ++of_descriptor; });
  for (int i = 0; i < 200; ++i) provider().iterate(&context, 0ns);
  provider().watch_from_application(-1, {});
  EXPECT_GT(busy, 0);
  EXPECT_GE(of_timer, 50);
  EXPECT_GE(of_descriptor, 50);
}

TEST_P(OnContext, C69_a_busy_guest_does_not_starve_sources_of_lower_priority) {
  const Pair pair = socket_pair();
  Context context{loop()};
  int busy = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::write, [&](Interest) { ++busy; });  // always ready
  for (int level = 0; level < provider().idle_levels(); ++level) {
    int calls = 0;
    provider().call_when_idle(level, [&] { ++calls; });
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (calls < 10 && std::chrono::steady_clock::now() < end) provider().iterate(&context, 0ns);
    provider().call_when_idle(level, {});
    EXPECT_GE(calls, 10) << "level " << level;
  }
  const int before = busy;
  for (int i = 0; i < 100; ++i) provider().iterate(&context, 0ns);
  EXPECT_GT(busy, before);
}

// A turn begins no further source after a while. Later turns serve all of the rest.
TEST_P(OnContext, C69_slow_callbacks_leave_the_application_its_turn) {
  if (!provider().whole_batches()) return;  // under direct hosting an up-call is for one source, and the host decides
  constexpr int kWatches = 24;
  std::vector<Pair> pairs;
  for (int i = 0; i < kWatches; ++i) pairs.push_back(socket_pair());
  Context context{loop()};
  int served = 0;
  std::vector<Watch> watches;
  for (const Pair& pair : pairs) {
    watches.push_back(context.watch(pair.near.get(), Interest::read, [&, fd = pair.near.get()](Interest) {
      if (take(fd).empty()) return;
      ++served;
      for (const std::uint64_t end = monotonic_ns() + 3'000'000; monotonic_ns() < end;) {
      }
    }));
  }
  turns(context);
  for (const Pair& pair : pairs) ASSERT_TRUE(put(pair.far.get()));
  int served_at_once = -1;
  std::function<void()> look = [&] {
    if (served > 0 && served_at_once < 0) served_at_once = served;
    if (served < kWatches) provider().call_from_application(look);
  };
  provider().call_from_application(look);
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (served < kWatches && std::chrono::steady_clock::now() < end) provider().iterate(&context, 0ns);
  EXPECT_EQ(served, kWatches);
  for (int i = 0; i < 100 && served_at_once < 0; ++i) provider().iterate(&context, 0ns);
  EXPECT_LT(served_at_once, kWatches) << "the application had to wait for all of them";
}

// ---- a turn ends after a while, whatever kind of work it has ----
//
// Each piece of work takes 2 ms. The application is called after every few pieces.

/// Counts the pieces of work, and for how many of them the application has to wait.
class Pieces {
 public:
  void one() {
    for (const std::uint64_t end = monotonic_ns() + 2'000'000; monotonic_ns() < end;) {
    }
    ++done_;
    longest_ = std::max(longest_, ++waited_for_);
  }
  [[nodiscard]] int done() const { return done_; }
  [[nodiscard]] int longest() const { return longest_; }
  /// Iterates with `provider` until `count` pieces are done. The application is called again and again meanwhile.
  void all(Provider& provider, Context& context, int count) {
    std::function<void()> again = [&] {
      waited_for_ = 0;
      if (done_ < count) provider.call_from_application(again);
    };
    provider.call_from_application(again);
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (done_ < count && std::chrono::steady_clock::now() < end) provider.iterate(&context, 0ns);
    for (int i = 0; i < 20; ++i) provider.iterate(&context, 0ns);  // lets the last call of `again` come
    EXPECT_EQ(done_, count);
    EXPECT_LE(longest_, kMost) << "pieces of 2 ms, for which the application waited";
  }

 private:
  static constexpr int kMost = 14;  // a turn of 8 ms, and what hosts do before they call the application
  int done_ = 0;
  int waited_for_ = 0;
  int longest_ = 0;
};

class Burner : public Protocol {
 public:
  explicit Burner(Pieces& pieces) : pieces_(pieces) {}
  void on_open(Connection& connection) override {
    opened.push_back(&connection);
    if (burns_at_open) pieces_.one();
  }
  void on_data(Connection&, std::span<const std::byte>) override {
    if (burns_at_data) pieces_.one();
  }
  void on_close(Connection&, std::error_code) override {
    if (burns_at_close) pieces_.one();
  }
  std::vector<Connection*> opened;
  bool burns_at_open = false;
  bool burns_at_data = false;
  bool burns_at_close = false;

 private:
  Pieces& pieces_;
};

TEST_P(OnContext, C69_posted_tasks_leave_the_application_its_turn) {
  constexpr int kCount = 100;
  Context context{loop()};
  Pieces pieces;
  std::vector<int> order;
  for (int i = 0; i < kCount; ++i) {
    context.post([&, i] {
      order.push_back(i);
      pieces.one();
    });
  }
  pieces.all(provider(), context, kCount);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(OnContext, C69_tasks_of_other_threads_leave_the_application_its_turn) {
  constexpr int kCount = 100;
  Context context{loop()};
  Pieces pieces;
  std::thread([remote = context.remote(), &pieces] {
    for (int i = 0; i < kCount; ++i) remote.post([&] { pieces.one(); });
  }).join();
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_timers_leave_the_application_its_turn) {
  constexpr int kCount = 60;
  Context context{loop()};
  Pieces pieces;
  std::vector<Timer> timers;
  std::vector<int> order;
  for (int i = 0; i < kCount; ++i) {
    timers.push_back(context.timer(0ns, [&, i] {
      order.push_back(i);
      pieces.one();
    }));
  }
  pieces.all(provider(), context, kCount);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(OnContext, C69_signals_leave_the_application_its_turn) {
  constexpr int kCount = 40;
  Context context{loop()};
  Pieces pieces;
  std::vector<Signal> watches;
  std::vector<int> order;
  for (int i = 0; i < kCount; ++i) {
    watches.push_back(context.on_signal(SIGUSR1, [&, i] {
      order.push_back(i);
      pieces.one();
    }));
  }
  ::raise(SIGUSR1);
  pieces.all(provider(), context, kCount);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(OnContext, C69_results_of_blocking_work_leave_the_application_its_turn) {
  constexpr int kCount = 60;
  Context context{loop()};
  Pieces pieces;
  for (int i = 0; i < kCount; ++i) context.run_blocking([] {}, [&](Outcome<void>) { pieces.one(); });
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_immediates_leave_the_application_its_turn) {
  constexpr int kCount = 60;
  Context context{loop()};
  Pieces pieces;
  for (int i = 0; i < kCount; ++i) node::set_immediate(context, [&] { pieces.one(); });
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_ends_of_connections_leave_the_application_its_turn) {
  constexpr int kCount = 40;
  Pieces pieces;
  Burner burner(pieces);
  burner.burns_at_close = true;
  std::vector<Pair> pairs;
  for (int i = 0; i < kCount; ++i) pairs.push_back(socket_pair());
  Context context{loop()};
  for (Pair& pair : pairs) context.adopt(pair.near.release(), burner);
  turns(context);
  ASSERT_EQ(burner.opened.size(), std::size_t{kCount});
  for (Connection* connection : burner.opened) connection->abort();
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_accepted_connections_leave_the_application_its_turn) {
  constexpr int kCount = 40;
  Pieces pieces;
  Burner burner(pieces);
  burner.burns_at_open = true;
  Pieces none;
  Burner clients(none);
  Context context{loop()};
  const Listener& listener = context.listen("127.0.0.1:0", burner);
  Context other{native()};
  for (int i = 0; i < kCount; ++i) other.connect(listener.address().to_string(), clients);
  for (int i = 0; i < 2000 && clients.opened.size() < kCount; ++i) {
    other.dispatch();
    ::usleep(1000);
  }
  ASSERT_EQ(clients.opened.size(), std::size_t{kCount});
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_reads_of_one_connection_leave_the_application_its_turn) {
  constexpr int kCount = 60;
  constexpr std::size_t kEach = 512;
  Pieces pieces;
  Burner burner(pieces);
  burner.burns_at_data = true;
  Pair pair = socket_pair();
  ContextOptions options;
  options.read_buffer = kEach;
  Context context{loop(), options};
  context.adopt(pair.near.release(), burner);
  turns(context);
  const std::string all(kCount * kEach, 'x');
  ASSERT_EQ(::send(pair.far.get(), all.data(), all.size(), MSG_DONTWAIT), static_cast<ssize_t>(all.size()));
  pieces.all(provider(), context, kCount);
}

TEST_P(OnContext, C69_a_descriptor_that_is_always_ready_does_not_starve_timers) {
  const Pair pair = socket_pair();
  Context context{loop()};
  ASSERT_TRUE(put(pair.far.get()));
  int of_source = 0;
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    ++of_source;
    for (const std::uint64_t end = monotonic_ns() + 3'000'000; monotonic_ns() < end;) {
    }
  });
  int of_timer = 0;
  const Timer timer = context.every(1ms, [&] { ++of_timer; });
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (of_timer < 10 && std::chrono::steady_clock::now() < end) provider().iterate(&context, 0ns);
  EXPECT_EQ(of_timer, 10);
  EXPECT_LE(of_source, 100);
}

// Some timers use up the time of every turn. They must not keep other work from its turn.
TEST_P(OnContext, C69_no_kind_of_work_starves_another) {
  const Pair pair = socket_pair();
  Context context{loop()};
  const auto burn = [] {
    for (const std::uint64_t end = monotonic_ns() + 3'000'000; monotonic_ns() < end;) {
    }
  };
  std::vector<Timer> timers;
  int of_timers = 0;
  for (int i = 0; i < 6; ++i) {
    timers.push_back(context.every(1ns, [&] {
      ++of_timers;
      burn();
    }));
  }
  int of_tasks = 0;
  std::function<void()> again = [&] {
    ++of_tasks;
    burn();
    context.post([&] { again(); });
  };
  for (int i = 0; i < 6; ++i) context.post([&] { again(); });
  int of_source = 0;
  ASSERT_TRUE(put(pair.far.get()));
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) { ++of_source; });
  int of_signals = 0;
  const Signal signal = context.on_signal(SIGUSR1, [&] {
    ++of_signals;
    ::raise(SIGUSR1);
  });
  ::raise(SIGUSR1);
  const auto end = std::chrono::steady_clock::now() + 30s;
  const auto enough = [&] { return of_timers >= 30 && of_tasks >= 30 && of_source >= 5 && of_signals >= 5; };
  while (!enough() && std::chrono::steady_clock::now() < end) provider().iterate(&context, 0ns);
  EXPECT_TRUE(enough()) << of_timers << " timers, " << of_tasks << " tasks, " << of_source << " of a source, "
                        << of_signals << " signals";
  EXPECT_LT(of_timers + of_tasks, 600);
}

TEST_P(OnContext, C70_a_busy_application_does_not_starve_the_guest) {
  const Pair pair = socket_pair();
  const Pair application = socket_pair();
  Context context{loop()};
  ASSERT_TRUE(put(application.far.get()));
  provider().watch_from_application(application.near.get(), [] {});  // nobody reads it, so it is always ready
  int timers = 0;
  int messages = 0;
  const Timer timer = context.every(1ms, [&] { ++timers; });
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (take(pair.near.get()).empty()) return;
    if (++messages == 20) return finish();
    put(pair.far.get());
  });
  ASSERT_TRUE(put(pair.far.get()));
  run(context);
  EXPECT_TRUE(until(context, [&] { return timers >= 3; }));
  provider().watch_from_application(-1, {});
}

TEST_P(Ops, C71_more_ready_descriptors_than_one_batch_holds) {
  const std::size_t count = many(1000);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(put(pairs.back().far.get()));
  }
  RawGuest guest{provider()};
  std::size_t seen = 0;
  for (const Pair& pair : pairs) {
    guest.add(pair.near.get(), ONLOOP_READ, [&, fd = pair.near.get()](std::uint32_t) {
      EXPECT_EQ(take(fd, 10), "x");
      ++seen;
    });
  }
  EXPECT_TRUE(guest.until([&] { return seen == count; }, 60s));
  guest.expect_silence(3);
}

TEST_P(Ops, C71_those_beyond_a_batch_are_not_starved_by_those_that_stay_ready) {
  const std::size_t count = many(600);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(socket_pair());
    ASSERT_TRUE(put(pairs.back().far.get()));
  }
  RawGuest guest{provider()};
  std::size_t seen = 0;
  for (const Pair& pair : pairs) {
    auto& watch = guest.add(pair.near.get(), ONLOOP_READ);  // nobody reads it, so it stays ready
    watch.on_ready = [&, first = true](std::uint32_t) mutable {
      if (std::exchange(first, false)) ++seen;
    };
  }
  EXPECT_TRUE(guest.until([&] { return seen == count; }, 60s));
}

TEST_P(OnContext, C72_thousands_of_watches_are_all_woken) {
  const std::size_t count = many(2000);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < count; ++i) pairs.push_back(socket_pair());
  Context context{loop()};
  std::vector<Watch> watches;
  std::size_t woken = 0;
  for (const Pair& pair : pairs) {
    watches.push_back(context.watch(pair.near.get(), Interest::read, [&, fd = pair.near.get()](Interest) {
      if (!take(fd, 10).empty() && ++woken == count) finish();
    }));
  }
  for (const Pair& pair : pairs) ASSERT_TRUE(put(pair.far.get()));
  run(context, 60s);
  EXPECT_EQ(woken, count);
}

TEST_P(Ops, C73_idle_costs_no_turn_with_thousands_of_watches) {
  const std::size_t count = many(1000);
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < count; ++i) pairs.push_back(socket_pair());
  RawGuest guest{provider()};
  for (const Pair& pair : pairs) guest.add(pair.near.get(), ONLOOP_READ);
  guest.expect_sleep(100ms);
}

TEST_P(OnContext, C73_idle_costs_no_processor_time_with_a_thousand_connections) {
  const std::size_t count = many(1000);
  Echo echo;
  std::vector<Pair> pairs;
  Context context{loop()};
  for (std::size_t i = 0; i < count; ++i) {
    pairs.push_back(socket_pair());
    context.adopt(pairs.back().near.release(), echo);
  }
  turns(context);
  const std::uint64_t before = processor_time();
  const Timer end = context.timer(200ms, [&] { finish(); });
  run(context);
  EXPECT_LT(processor_time() - before, 100'000'000u) << "it did not sleep";
}

}  // namespace onloop::conformance
