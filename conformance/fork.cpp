#include <poll.h>
#include <unistd.h>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

/// Sends back what the peer sends, and counts the bytes.
class Noting : public Echo {
 public:
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    got += data.size();
    Echo::on_data(connection, data);
  }
  std::size_t got = 0;
};

}  // namespace

TEST_P(OnContext, C83_the_child_attaches_to_a_loop_of_its_own_and_works) {
  const Pair pair = socket_pair();
  Context context{loop()};
  int timers = 0;
  bool readable = false;
  int tasks = 0;
  const Timer timer = context.timer(20ms, [&] { ++timers; });
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (!take(pair.near.get()).empty()) readable = true;
  });
  const Remote remote = context.remote();
  turns(context);
  EXPECT_EQ(in_child([&] {
              context.after_fork(native());
              put(pair.far.get());
              remote.post([&] { ++tasks; });
              const Timer end = context.every(1ms, [&] {
                if (timers == 1 && readable && tasks == 1) context.stop();
              });
              context.run();
              return true;
            }),
            "");
  EXPECT_FALSE(readable) << "memory is the child's own";
  EXPECT_TRUE(until(context, [&] { return timers == 1; }));
}

TEST_P(OnContext, C83_a_child_that_does_not_attach_is_refused_in_words) {
  Context context{loop()};
  EXPECT_EQ(in_child([&] { return is(error_of([&] { context.run(); }), std::errc::operation_not_permitted); }), "");
}

TEST_P(OnContext, C84_what_the_child_does_with_its_context_does_not_disturb_the_parent) {
  Pair pair = socket_pair();
  const Pair watched = socket_pair();
  Noting echo;
  auto context = std::make_unique<Context>(loop());
  context->adopt(pair.near.release(), echo);
  Listener& listener = context->listen("127.0.0.1:0", echo);
  const std::string address = listener.address().to_string();
  int calls = 0;
  const Watch watch = context->watch(watched.near.get(), Interest::read, [&](Interest) {
    if (!take(watched.near.get()).empty()) ++calls;
  });
  int ticks = 0;
  const Timer timer = context->every(1ms, [&] { ++ticks; });
  const Remote remote = context->remote();
  turns(*context);

  EXPECT_EQ(in_child([&] {
              remote.wake();  // a Remote does nothing in the child: it must not reach the eventfd of the parent either
              remote.post([] {});
              context.reset();
              return true;
            }),
            "");
  EXPECT_EQ(in_child([&] {
              context->after_fork(native());
              for (int i = 0; i < 5; ++i) context->dispatch();
              context.reset();
              return true;
            }),
            "");

  std::string back;
  ASSERT_TRUE(put(pair.far.get(), "still here"));
  ASSERT_TRUE(put(watched.far.get()));
  EXPECT_TRUE(until(*context, [&] { return (back += take(pair.far.get())) == "still here" && calls == 1; }));
  const int before = ticks;
  EXPECT_TRUE(until(*context, [&] { return ticks > before; }));
  Connection& client = context->connect(address, echo);
  client.write("through the listener");
  const std::size_t so_far = echo.got;
  EXPECT_TRUE(until(*context, [&] { return echo.got > so_far + 20; })) << "the listener was shut by the child";
  bool ran = false;
  EXPECT_TRUE(remote.post([&] { ran = true; }));
  EXPECT_TRUE(until(*context, [&] { return ran; }));
}

TEST_P(OnContext, C84_a_remote_in_the_child_does_not_wake_the_parent) {
  int wakes = 0;
  ContextOptions options;
  options.on_wake = [&] { ++wakes; };
  Context context{loop(), options};
  const Remote remote = context.remote();
  turns(context);
  const auto wake_in_child = [&] {
    EXPECT_EQ(in_child([&] {
                remote.wake();
                remote.post([] {});
                return true;
              }),
              "");
  };
  wake_in_child();
  turns(context);
  EXPECT_EQ(wakes, 0);
  if (context.loop().ops().fd && !context.loop().foreign()) {  // this finds also a wake-up that causes no call
    pollfd readable{context.pollable_fd(), POLLIN, 0};
    wake_in_child();
    EXPECT_EQ(::poll(&readable, 1, 0), 0) << "the child wrote to the parent's eventfd";
  }
  remote.wake();
  EXPECT_TRUE(until(context, [&] { return wakes == 1; }));
}

}  // namespace onloop::conformance
