// Case 90: inside a callback of each kind, a context moves to another loop and back.

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

enum class Kind { watch, timer, every, post, remote_post, on_wake, accept, open, data, drain, end, close, on_error };
constexpr Kind kKinds[] = {Kind::watch,   Kind::timer,  Kind::every,   Kind::post, Kind::remote_post,
                           Kind::on_wake, Kind::accept, Kind::open,    Kind::data, Kind::drain,
                           Kind::end,     Kind::close,  Kind::on_error};
constexpr const char* kNames[] = {"watch",   "timer",   "every",    "post",   "remote post", "on_wake", "on_accept",
                                  "on_open", "on_data", "on_drain", "on_end", "on_close",    "on_error"};

/// A context in which a test can cause a callback of each kind. Each callback calls strike().
class Stage : public Protocol {
 public:
  explicit Stage(const Loop& loop) : context_(std::in_place, loop, options()) {
    port_ = context_->listen("127.0.0.1:0", *this).address().port();
    watch_ = context_->watch(watched_.near.get(), Interest::read, [this](Interest) {
      if (!take(watched_.near.get()).empty()) strike(Kind::watch);
    });
  }

  Context& context() { return *context_; }
  /// Causes a callback of `kind`. The callback calls `action` once.
  void cause(Kind kind, std::function<void()> action) {
    expected_ = kind;
    action_ = std::move(action);
    struck_ = false;
    switch (kind) {
      case Kind::watch:
        put(watched_.far.get());
        break;
      case Kind::timer:
        timer_ = context_->timer(0ns, [this] { strike(Kind::timer); });
        break;
      case Kind::every:
        timer_ = context_->every(1ms, [this] { strike(Kind::every); });
        break;
      case Kind::post:
        context_->post([this] { strike(Kind::post); });
        break;
      case Kind::remote_post:
        context_->remote().post([this] { strike(Kind::remote_post); });
        break;
      case Kind::on_wake:
        context_->remote().wake();
        break;
      case Kind::accept:
        line_.far = tcp_client(port_);
        break;
      case Kind::open:
        adopt();
        break;
      case Kind::data:
        adopt();
        put(line_.far.get(), "data");
        break;
      case Kind::drain:
        adopt().write(std::string(std::size_t{4} << 20, 'w'));
        break;
      case Kind::end:
        adopt();
        ::shutdown(line_.far.get(), SHUT_WR);
        break;
      case Kind::close:
        adopt().abort();
        break;
      case Kind::on_error:
        line_.far = tcp_client(port_);
        none_left_.emplace(0);
        break;
    }
  }
  /// @return True if the callback has come. For Kind::drain it also reads the bytes that the connection wants to write.
  [[nodiscard]] bool struck() {
    if (expected_ == Kind::drain) onloop::conformance::drain(line_.far.get());
    return struck_;
  }

 private:
  ContextOptions options() {
    ContextOptions options;
    options.on_wake = [this] { strike(Kind::on_wake); };
    options.on_error = [this](std::error_code, std::string_view) {
      none_left_.reset();
      strike(Kind::on_error);
    };
    return options;
  }
  Connection& adopt() {
    line_ = socket_pair();
    return context_->adopt(line_.near.release(), *this);
  }
  void strike(Kind kind) {
    if (kind != expected_ || struck_) return;
    struck_ = true;
    action_();
  }
  bool on_accept(const Address&) override { return strike(Kind::accept), true; }
  void on_open(Connection&) override { strike(Kind::open); }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    strike(Kind::data);
    EXPECT_EQ(data.front(), std::byte{'d'}) << "the span is valid until this returns";
    connection.write(data);
  }
  void on_drain(Connection&) override { strike(Kind::drain); }
  void on_end(Connection& connection) override {
    strike(Kind::end);
    connection.close();
  }
  void on_close(Connection&, std::error_code) override { strike(Kind::close); }

  Kind expected_ = Kind::watch;
  bool struck_ = false;
  std::function<void()> action_;
  std::uint16_t port_ = 0;
  Pair watched_ = socket_pair();
  Pair line_;
  std::optional<DescriptorLimit> none_left_;
  std::optional<Context> context_;
  Watch watch_;
  Timer timer_;
};

}  // namespace

TEST_P(OnContext, C90_moved_inside_each_kind_of_callback) {
  const std::vector<Loop> others = neighbours();
  Stage stage{loop()};
  Context& context = stage.context();
  Echo echo;
  Pair steady = socket_pair();
  context.adopt(steady.near.release(), echo);
  std::size_t step = 0;
  for (const Kind kind : kKinds) {
    SCOPED_TRACE(kNames[static_cast<int>(kind)]);
    for (const Loop& next : {others[step++ % others.size()], loop()}) {
      const bool again = same_loop(next, loop());  // on_error reports errors of one kind only once in a while
      stage.cause(again && kind == Kind::on_error ? Kind::post : kind, [&] {
        context.move_to(next);
        EXPECT_TRUE(same_loop(context.loop(), next));
      });
      ASSERT_TRUE(anywhere(context, [&] { return stage.struck(); }));
      std::string echoed;
      ASSERT_TRUE(put(steady.far.get(), "ping"));
      ASSERT_TRUE(anywhere(context, [&] { return (echoed += take(steady.far.get())) == "ping"; }));
    }
  }
  EXPECT_EQ(context.statistics().cutovers, 2 * std::size(kKinds));
}

TEST_P(OnContext, C90_the_rest_of_the_turn_comes_on_the_next_loop) {
  for (const Loop& other : neighbours()) {
    const Pair one = socket_pair();
    const Pair two = socket_pair();
    bool moved = false;
    std::size_t seen_at_move = 0;
    std::string seen;
    ContextOptions options;
    options.around = [&](const std::function<void()>& batch) {
      const bool before = moved;
      batch();
      if (moved && !before) {
        EXPECT_EQ(seen.size(), seen_at_move) << "the turn went on after the move";
      }
    };
    Context context{loop(), options};
    const auto at = [&](const char* what) {
      seen += what;
      if (moved || seen.size() < 2) return;
      moved = true;
      seen_at_move = seen.size();
      context.move_to(other);
    };
    const Watch first = context.watch(one.near.get(), Interest::both, [&](Interest interest) {
      if (interest == Interest::read && take(one.near.get()).empty()) return;
      if (interest == Interest::write && seen.find('w') != std::string::npos) return;
      at(interest == Interest::read ? "r" : "w");
    });
    const Watch second = context.watch(two.near.get(), Interest::read, [&](Interest) {
      if (!take(two.near.get()).empty()) at("R");
    });
    const Timer timer = context.timer(0ns, [&] { at("t"); });
    context.post([&] { at("p"); });
    ASSERT_TRUE(put(one.far.get()) && put(two.far.get()));
    ASSERT_TRUE(anywhere(context, [&] { return seen.size() == 5; })) << seen;
    std::string sorted = seen;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, "Rprtw") << "each once, none lost";
    EXPECT_TRUE(same_loop(context.loop(), other));
  }
}

TEST_P(OnContext, C90_run_goes_on_with_a_loop_that_is_owned_and_returns_for_another) {
  for (const Loop& other : {native(), native_poll(), native().aggregate()}) {
    Context context{other};
    bool served = false;
    context.post([&] {
      context.move_to(loop());
      context.post([&] {
        served = true;
        if (!context.loop().foreign()) context.stop();
      });
    });
    context.run();
    EXPECT_EQ(served, !loop().foreign());
    ASSERT_TRUE(anywhere(context, [&] { return served; }));
    if (loop().foreign()) {
      EXPECT_TRUE(is(error_of([&] { context.run(); }), std::errc::not_supported));
    }
    context.post([&] {
      context.move_to(other);
      context.post([&] { served = false; });
    });
    ASSERT_TRUE(anywhere(context, [&] { return !served; }));
    bool again = false;
    context.post([&] {
      again = true;
      context.stop();
    });
    context.run();
    EXPECT_TRUE(again);
  }
}

}  // namespace onloop::conformance
