// Case 28: the context is destroyed inside a callback of each kind. On a libuv or libevent loop that the shim owns, a
// naive implementation frees the loop while the loop is running. Nothing may be called afterwards. The sanitizers check
// the rest.

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <optional>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// A context that is destroyed by one of its callbacks.
class Doomed {
 public:
  explicit Doomed(const Loop& loop, std::function<void()> finish, ContextOptions options = {})
      : finish_(std::move(finish)), context_(std::in_place, loop, std::move(options)) {}

  Context& context() { return *context_; }
  void destroy() {
    ASSERT_TRUE(context_) << "a callback came after the context was gone";
    finish_();
    context_.reset();
  }
  [[nodiscard]] bool gone() const { return !context_; }

 private:
  std::function<void()> finish_;
  std::optional<Context> context_;
};

/// Destroys the context in one of its own callbacks, and then uses its own members.
class Destroyer : public Protocol {
 public:
  enum class In { accept, open, data, drain, end, close };
  Destroyer(Doomed& doomed, In in) : doomed_(doomed), in_(in) {}

  bool on_accept(const Address&) override {
    at(In::accept);
    return true;
  }
  void on_open(Connection& connection) override {
    if (in_ == In::drain) connection.write(std::string(1 << 20, 'w'));
    at(In::open);
  }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    at(In::data);
    for (const std::byte byte : data) EXPECT_EQ(byte, std::byte{'x'}) << "the span is valid until this returns";
    if (!doomed_.gone()) connection.context().post([] {});
  }
  void on_drain(Connection&) override { at(In::drain); }
  void on_end(Connection& connection) override {
    if (in_ == In::close) connection.close();
    at(In::end);
  }
  void on_close(Connection&, std::error_code) override { at(In::close); }

 private:
  void at(In callback) {
    EXPECT_FALSE(doomed_.gone()) << "a callback came after the context was gone";
    if (callback == in_) doomed_.destroy();
  }
  Doomed& doomed_;
  In in_;
};

}  // namespace

#define ONLOOP_DOOMED(name) Doomed name(loop(), [this] { finish(); })

TEST_P(OnContext, C28_destroyed_in_a_watch_callback) {
  const Pair pair = socket_pair();
  const Pair other = socket_pair();
  ONLOOP_DOOMED(doomed);
  const auto callback = [&](Interest) {
    take(pair.near.get());
    doomed.destroy();
  };
  const Watch one = doomed.context().watch(pair.near.get(), Interest::both, callback);
  const Watch two = doomed.context().watch(other.near.get(), Interest::write, callback);
  const Timer timer = doomed.context().timer(1h, [] {});
  ASSERT_TRUE(put(pair.far.get()));
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  EXPECT_FALSE(one.active() || two.active() || timer.active());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_a_timer_callback) {
  ONLOOP_DOOMED(doomed);
  const auto callback = [&, held = std::make_shared<int>(1)] {
    doomed.destroy();
    EXPECT_EQ(*held, 1);
  };
  const Timer one = doomed.context().timer(0ns, callback);
  const Timer two = doomed.context().timer(0ns, callback);
  const Timer three = doomed.context().every(1h, [] {});
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_a_periodic_timer_callback) {
  ONLOOP_DOOMED(doomed);
  const Timer timer = doomed.context().every(1ms, [&] { doomed.destroy(); });
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_a_task) {
  ONLOOP_DOOMED(doomed);
  for (int i = 0; i < 2; ++i) doomed.context().post([&] { doomed.destroy(); });
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_a_task_of_a_remote) {
  ONLOOP_DOOMED(doomed);
  const Remote remote = doomed.context().remote();
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(remote.post([&] { doomed.destroy(); }));
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  EXPECT_FALSE(remote.post([] {}));
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_on_wake) {
  std::function<void()> on_wake;
  ContextOptions options;
  options.on_wake = [&] { on_wake(); };
  Doomed doomed(
      loop(), [this] { finish(); }, options);
  on_wake = [&] { doomed.destroy(); };
  doomed.context().remote().wake();
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_inside_around) {
  std::function<void(const std::function<void()>&)> around = [](const auto& batch) { batch(); };
  ContextOptions options;
  options.around = [&](const std::function<void()>& batch) { around(batch); };
  Doomed doomed(
      loop(), [this] { finish(); }, options);
  around = [&](const auto& batch) {
    batch();
    if (!doomed.gone()) doomed.destroy();
  };
  doomed.context().post([] {});
  run(doomed.context());
  EXPECT_TRUE(doomed.gone());
  host_turns();
}

TEST_P(OnContext, C28_destroyed_in_each_callback_of_an_accepted_connection) {
  using In = Destroyer::In;
  for (const In in : {In::accept, In::open, In::data, In::end, In::close}) {
    ONLOOP_DOOMED(doomed);
    Destroyer protocol{doomed, in};
    const Descriptor client = tcp_client(doomed.context().listen("127.0.0.1:0", protocol).address().port());
    ASSERT_TRUE(put(client.get(), "xxx"));
    ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
    run(doomed.context());
    ASSERT_TRUE(doomed.gone()) << "callback " << static_cast<int>(in);
    host_turns();
  }
}

TEST_P(OnContext, C28_destroyed_in_each_callback_of_an_adopted_connection) {
  using In = Destroyer::In;
  for (const In in : {In::open, In::data, In::drain, In::end, In::close}) {
    Pair pair = socket_pair();
    ONLOOP_DOOMED(doomed);
    Destroyer protocol{doomed, in};
    doomed.context().adopt(pair.near.release(), protocol);
    const Timer reader = doomed.context().every(1ms, [&] { drain(pair.far.get()); });
    if (in != In::drain) {
      ASSERT_TRUE(put(pair.far.get(), "xxx"));
      pair.far.reset();
    }
    run(doomed.context());
    ASSERT_TRUE(doomed.gone()) << "callback " << static_cast<int>(in);
    host_turns();
  }
}

TEST_P(OnContext, C28_the_protocol_is_destroyed_in_each_callback_of_its_own) {
  class Suicidal : public Protocol {
   public:
    Suicidal(std::unique_ptr<Suicidal>& self, int countdown, std::function<void()> done)
        : self_(self), countdown_(countdown), done_(std::move(done)) {}
    void on_open(Connection&) override { step(); }
    void on_data(Connection&, std::span<const std::byte>) override { step(); }
    void on_end(Connection& connection) override {
      connection.close();
      step();
    }
    void on_close(Connection&, std::error_code) override { step(); }

   private:
    void step() {
      if (--countdown_ > 0) return;
      const auto done = done_;
      self_.reset();
      done();
    }
    std::unique_ptr<Suicidal>& self_;
    int countdown_;
    std::function<void()> done_;
  };
  for (int countdown = 1; countdown <= 4; ++countdown) {
    Pair pair = socket_pair();
    Context context{loop()};
    std::unique_ptr<Suicidal> protocol;
    protocol = std::make_unique<Suicidal>(protocol, countdown, [this] { finish(); });
    const Ref connection = context.adopt(pair.near.release(), *protocol).ref();
    ASSERT_TRUE(put(pair.far.get(), "xxx"));
    pair.far.reset();
    run(context);
    EXPECT_FALSE(protocol);
    EXPECT_FALSE(connection);
    turns(context);
  }
}

}  // namespace onloop::conformance
