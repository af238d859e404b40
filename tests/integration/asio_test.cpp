// The context's descriptor in Asio, whose reactor is edge-triggered.
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include "drive.hpp"

namespace onloop::test {
namespace {

class InAsio : public LoopTest {};
ONLOOP_ON_LOOPS(InAsio, loops_with_fd());

TEST_P(InAsio, ConnectionsAreServedToTheirEnd) {
  Echo echo;
  Recorder client;
  ContextOptions options;
  options.read_buffer = 1024;
  Context context{GetParam().make(), options};
  const std::string all = pattern(1'000'000);
  client.when_open = [&](Connection& connection) { connection.write(all); };
  client.when_data = [&](Connection& connection, std::string_view) {
    if (client.received.size() == all.size()) connection.close();
  };
  context.connect(context.listen("127.0.0.1:0", echo).address().to_string(), client);
  int timers = 0;
  const Timer timer = context.every(1ms, [&] { ++timers; });

  asio::io_context io;
  asio::posix::stream_descriptor descriptor(io, context.pollable_fd());
  asio::steady_timer limit(io, 10s);
  limit.async_wait([&](std::error_code error) {
    if (!error) io.stop();
  });
  std::function<void()> wait = [&] {
    descriptor.async_wait(asio::posix::stream_descriptor::wait_read, [&](std::error_code error) {
      if (error) return;
      context.dispatch();
      if (client.closes > 0 && timers >= 5) return io.stop();
      wait();
    });
  };
  wait();
  io.run();
  descriptor.release();
  EXPECT_EQ(client.closes, 1);
  EXPECT_GE(timers, 5);
}

}  // namespace
}  // namespace onloop::test
