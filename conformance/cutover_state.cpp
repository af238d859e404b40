// What a move must not change, whatever state the context is in; and what a move costs.

#include <fcntl.h>
#include <sys/socket.h>

#include <cstdint>
#include <map>
#include <memory>

#include "conformance/counted_loop.hpp"
#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

constexpr std::size_t kQueued = std::size_t{1} << 20;  // more bytes than the kernel takes

/// Notes what happens to each connection. Each connection has a name.
struct Ledger : Protocol {
  void on_open(Connection& connection) override {
    const std::string& name = connection.state<std::string>();
    if (name != "idle") note(connection, "open");  // "idle" may be closed before this call
    if (name != "closing") return;
    connection.write(std::string(kQueued, 'c'));
    connection.close();
  }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    std::string& its = of[connection.state<std::string>()];
    if (!its.ends_with(" data")) its += " data";
    bytes += data.size();
  }
  void on_drain(Connection& connection) override { note(connection, "drain"); }
  void on_end(Connection& connection) override { note(connection, "end"); }
  void on_close(Connection& connection, std::error_code error) override {
    note(connection, error ? "close: " + error.message() : "close");
  }
  void note(Connection& connection, const std::string& what) { of[connection.state<std::string>()] += " " + what; }

  std::map<std::string, std::string> of;
  std::size_t bytes = 0;
};

std::string words(std::errc error) {
  return std::make_error_code(error).message();
}

/// A context in which everything is under way.
class Busy {
 public:
  explicit Busy(const Loop& loop) : context_(std::make_unique<Context>(loop, options())) {
    // Connections that the kernel has accepted, but of which the context has not heard yet.
    context_->connect(context_->listen("127.0.0.1:0", clients_).address().to_string(), ledger_)
        .emplace_state<std::string>("connecting");
  }
  Context& context() { return *context_; }

  /// Must be called after the connections are open. When it returns, none of the work that it begins is finished.
  void begin() {
    adopt("full").write(std::string(kQueued, 'f'));
    EXPECT_GT(adopt("draining").write(std::string(kQueued, 'd')), Flow::go);
    adopt("paused").pause_reading();
    put(far("paused"), "unread");
    ::shutdown(far("paused"), SHUT_WR);
    adopt("half-closed");
    ::shutdown(far("half-closed"), SHUT_WR);
    adopt("shut down").shutdown_write();
    adopt("closing");
    adopt("aborted").abort(std::make_error_code(std::errc::operation_canceled));
    adopt("idle").set_idle_timeout(1ms);
    context_->connect("unix:@onloop-test-where-nobody-listens", ledger_).emplace_state<std::string>("refused");
    context_->post([this] { ++tasks; });
    context_->remote().post([this] { ++tasks; });
    context_->remote().wake();
  }
  /// Continues the work after any number of moves, so that each connection comes to its end.
  void go_on() {
    for (const char* name : {"draining", "closing"}) drain(far(name));
    if (ledger_.of["paused"] == " open") lines_.at("paused").connection->resume_reading();
    if (ledger_.of["half-closed"] == " open end" && !answered_) {
      answered_ = true;
      lines_.at("half-closed").connection->write("answer");
      lines_.at("half-closed").connection->shutdown_write();
    }
    if (!told_) told_ = put(far("shut down"), "still heard");
    if (ledger_.of["shut down"] == " open data") ::shutdown(far("shut down"), SHUT_WR);
    if (ledger_.of["closing"] == " open") ::shutdown(far("closing"), SHUT_WR);
  }
  [[nodiscard]] bool over() const { return ledger_.of == expected() && tasks == 2 && wakes > 0; }
  [[nodiscard]] std::string seen() const { return ::testing::PrintToString(ledger_.of); }
  void check() {
    EXPECT_EQ(take(far("half-closed")), "answer");
    EXPECT_EQ(lines_.at("full").connection->queued_bytes() + drain(far("full")), kQueued);
    EXPECT_EQ(tasks, 2);
  }

 private:
  static std::map<std::string, std::string> expected() {
    return {{"connecting", " open"},
            {"full", " open"},
            {"draining", " open drain"},
            {"paused", " open data end"},
            {"half-closed", " open end close"},
            {"shut down", " open data end close"},
            {"closing", " open close"},
            {"aborted", " close: " + words(std::errc::operation_canceled)},
            {"idle", " close: " + words(std::errc::timed_out)},
            {"refused", " close: " + words(std::errc::connection_refused)}};
  }
  struct Line {
    Descriptor far;
    Ref connection;
  };

  ContextOptions options() {
    ContextOptions options;
    options.on_wake = [this] { ++wakes; };
    return options;
  }
  Connection& adopt(const std::string& name) {
    Pair pair = socket_pair();
    Connection& connection = context_->adopt(pair.near.release(), ledger_);
    connection.emplace_state<std::string>(name);
    lines_[name] = {std::move(pair.far), connection.ref()};
    return connection;
  }
  [[nodiscard]] int far(const std::string& name) const { return lines_.at(name).far.get(); }

  Echo clients_;
  Ledger ledger_;
  std::map<std::string, Line> lines_;
  int tasks = 0;
  int wakes = 0;
  bool answered_ = false;
  bool told_ = false;
  std::unique_ptr<Context> context_;
};

}  // namespace

TEST_P(OnContext, C92_a_move_that_fails_at_any_step_leaves_it_working_where_it_was) {
  for (const bool from_home : {true, false}) {
    const Loop start = from_home ? loop() : neighbours().front();
    CountedLoop counted{from_home ? native_poll() : loop()};
    if (same_loop(start, from_home ? native_poll() : loop())) continue;
    Echo echo;
    const Pair watched = socket_pair();
    Pair line = socket_pair();
    Context context{start};
    context.listen("127.0.0.1:0", echo);
    context.adopt(line.near.release(), echo);
    const Watch watch = context.watch(watched.near.get(), Interest::none, [](Interest) {});
    int ticks = 0;
    const Timer timer = context.every(1ms, [&] { ++ticks; });
    const auto serves = [&] {
      const int before = ticks;
      std::string echoed;
      return put(line.far.get(), "ping") && anywhere(context, [&] {
               echoed += take(line.far.get());
               return echoed == "ping" && ticks > before;
             });
    };
    ASSERT_TRUE(serves());
    for (const Loop& target : {counted.loop().direct(), counted.loop().aggregate()}) {
      if (!provider().exception("95a").empty() && target.hosting() != loop().hosting()) continue;
      const std::uint64_t cutovers = context.statistics().cutovers;
      int steps = 0;
      for (bool failed = true; failed; ++steps) {
        counted.failures = 0;
        counted.fail_at(steps);
        failed = false;
        const bool in_callback = steps % 2;
        const auto move = [&] {
          try {
            context.move_to(target);
          } catch (const std::system_error& error) {
            failed = true;
            EXPECT_TRUE(is(error.code(), std::errc::not_enough_memory)) << error.what();
            EXPECT_NE(std::string_view(error.what()).find(target.name()), std::string_view::npos) << error.what();
          }
        };
        bool tried = !in_callback;
        if (in_callback) {
          context.post([&] {
            move();
            tried = true;
          });
          ASSERT_TRUE(anywhere(context, [&] { return tried; }));
        } else {
          move();
        }
        counted.fail_at(-1);
        if (!failed) break;
        EXPECT_TRUE(same_loop(context.loop(), start)) << "after a failure of step " << steps;
        EXPECT_EQ(counted.attached, 0) << "after a failure of step " << steps;
        EXPECT_EQ(counted.watches, 0) << "after a failure of step " << steps;
        EXPECT_EQ(context.statistics().cutovers, cutovers);
        ASSERT_TRUE(serves()) << "after a failure of step " << steps;
      }
      EXPECT_GE(steps, target.hosting() == Hosting::direct ? 5 : 2) << "attach and each descriptor could have failed";
      EXPECT_TRUE(same_loop(context.loop(), target));
      ASSERT_TRUE(serves());
      context.move_to(start);
      ASSERT_TRUE(serves());
    }
  }
}

TEST_P(OnContext, C92_a_move_without_descriptors_to_be_had_is_refused_or_works) {
  for (const Loop& other : neighbours()) {
    Echo echo;
    Pair line = socket_pair();
    Context context{loop()};
    context.adopt(line.near.release(), echo);
    const auto serves = [&] {
      std::string echoed;
      return put(line.far.get(), "ping") &&
             anywhere(context, [&] { return (echoed += take(line.far.get())) == "ping"; });
    };
    ASSERT_TRUE(serves());
    const test::ProcessState before = test::ProcessState::take();
    bool moved = false;
    for (int free = 0; !moved && free < kMostForALoop; ++free) {
      {
        const DescriptorLimit limit{free};
        const std::error_code error = error_of([&] { context.move_to(other); });
        moved = !error;
        EXPECT_TRUE(moved || is(error, std::errc::too_many_files_open)) << error.message();
      }
      if (moved) break;
      EXPECT_EQ(before.difference_to(test::ProcessState::take()), "") << "with " << free << " descriptors to be had";
      EXPECT_TRUE(same_loop(context.loop(), loop()));
      ASSERT_TRUE(serves());
    }
    EXPECT_TRUE(moved);
    ASSERT_TRUE(serves());
  }
}

TEST_P(OnContext, C93_whatever_it_is_in_the_middle_of_goes_on) {
  for (const Loop& other : neighbours()) {
    for (const bool in_callback : {false, true}) {
      Busy busy{loop()};
      Context& context = busy.context();
      if (in_callback) {
        bool begun = false;
        context.post([&] {
          busy.begin();
          context.move_to(other);
          begun = true;
        });
        ASSERT_TRUE(anywhere(context, [&] { return begun; }));
      } else {
        busy.begin();
        context.move_to(other);
      }
      EXPECT_TRUE(anywhere(context, [&] {
        busy.go_on();
        return busy.over();
      })) << busy.seen();
      context.move_to(loop());
      turns(context);
      EXPECT_TRUE(busy.over()) << busy.seen();
      busy.check();
    }
  }
}

TEST_P(OnContext, C93_moved_at_each_step_of_all_that_is_going_on) {
  std::vector<Loop> route;
  for (const Loop& other : neighbours()) {
    for (const Loop& next : {other, loop()}) route.push_back(next);
  }
  Busy busy{loop()};
  Context& context = busy.context();
  busy.begin();
  std::size_t moves = 0;
  const Timer mover = context.every(200us, [&] { context.move_to(route[moves++ % route.size()]); });
  EXPECT_TRUE(anywhere(context, [&] {
    busy.go_on();
    return busy.over();
  })) << busy.seen();
  busy.check();
}

// The loop that the context leaves still watches a direction that is no longer wanted, until it reports this direction
// once. The next loop has never watched it.
TEST_P(OnContext, C93_paused_and_resumed_around_a_move_it_reads_on) {
  for (const Loop& other : neighbours()) {
    Echo echo;
    Pair pair = socket_pair();
    Context context{loop()};
    Connection& connection = context.adopt(pair.near.release(), echo);
    const auto echoes = [&] {
      return put(pair.far.get()) && anywhere(context, [&] { return !take(pair.far.get()).empty(); });
    };
    ASSERT_TRUE(echoes());
    for (const Loop& next : {other, loop()}) {
      connection.pause_reading();
      context.move_to(next);
      connection.resume_reading();
      ASSERT_TRUE(echoes());
    }
  }
}

TEST_P(OnContext, C93_keepalive_comes_along) {
  const bool has_it = provider().application_drives() && loop().foreign() && loop().ops().keepalive;
  Context context{neighbours().front()};
  for (const bool on : {false, true}) {
    context.set_keepalive(on);
    context.move_to(loop());
    if (has_it) {
      EXPECT_EQ(provider().kept_alive(), on);
    }
    if (!on && !context.loop().foreign()) context.run();  // run() returns, since nothing keeps the loop alive
    context.move_to(neighbours().front());
    host_turns(2);
    if (!on && !context.loop().foreign()) context.run();
  }
}

TEST_P(OnContext, C94_between_native_and_aggregate_the_cost_does_not_grow_with_connections) {
  struct Cost {
    int aggregate = 0;
    int direct = 0;
    int adds = 0;
  };
  const auto cost_with = [this](int connections) {
    CountedLoop counted{native_poll()};
    Echo echo;
    std::vector<Pair> pairs;
    Context context{native()};
    for (int i = 0; i < connections; ++i) {
      pairs.push_back(socket_pair());
      context.adopt(pairs.back().near.release(), echo);
    }
    Cost cost;
    const auto move = [&](const Loop& loop) {
      const int before = counted.calls;
      context.move_to(loop);
      return counted.calls - before;
    };
    const int set = context.pollable_fd();
    cost.aggregate = move(counted.loop().aggregate());
    EXPECT_GE(::fcntl(set, F_GETFD), 0) << "the native set was made anew";
    cost.aggregate += move(native());
    cost.adds = -counted.adds;
    cost.direct = move(counted.loop().direct()) + move(native());
    cost.adds += counted.adds;
    // Now the loop under test is the host. Its own count of objects is checked.
    host_turns(2);
    const int before = provider().host_objects();
    context.move_to(loop().hosting() == Hosting::direct ? native().aggregate() : loop());
    EXPECT_LE(provider().host_objects(), before + 4);
    EXPECT_TRUE(put(pairs.back().far.get()));
    EXPECT_TRUE(anywhere(context, [&] { return !take(pairs.back().far.get()).empty(); }));
    return cost;
  };
  const Cost few = cost_with(10);
  const Cost many = cost_with(210);
  EXPECT_EQ(few.aggregate, many.aggregate);
  EXPECT_LE(few.aggregate, 4) << "attach and watch; remove and detach";
  EXPECT_EQ(many.adds - few.adds, 200);
  EXPECT_EQ(many.direct - few.direct, 2 * 200) << "each is watched and removed once";
}

}  // namespace onloop::conformance
