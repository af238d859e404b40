// Whole programs on onloop::node. Their output must be the output of the same program in Node.
#include <onloop/node/net.hpp>

#include "drive.hpp"

namespace onloop::test {
namespace {

class NodeProgram : public LoopTest {};
// On the scripted loop a deadline may come late, which allows other orders.
ONLOOP_ON_LOOPS(NodeProgram, friendly_loops());

TEST_P(NodeProgram, TicksComeBeforeMicrotasksInEachPhase) {
  std::string out;
  Context context{GetParam().make()};
  const auto say = [&out](std::string_view line) { (out += line) += '\n'; };

  node::set_timeout(context, [&] {
    node::queue_microtask(context, [&] {
      say("promise resolve in timeout");
      node::next_tick(context, [&] { say("tick task in timeout promise"); });
    });
    node::next_tick(context, [&] {
      say("tick task in timeout");
      node::next_tick(context, [&] { say("tick task in timeout->tick"); });
    });
    say("timer task");
  });
  node::set_immediate(context, [&] {
    node::next_tick(context, [&] { say("immediate->tick task"); });
    say("immediate task");
  });
  node::queue_microtask(context, [&] { say("promise resolve"); });
  node::next_tick(context, [&] { say("tick task"); });
  say("run main thread");
  context.run();

  EXPECT_EQ(out,
            "run main thread\n"
            "tick task\n"
            "promise resolve\n"
            "timer task\n"
            "tick task in timeout\n"
            "tick task in timeout->tick\n"
            "promise resolve in timeout\n"
            "tick task in timeout promise\n"
            "immediate task\n"
            "immediate->tick task\n");
}

/// A server, its client, and every kind of callback inside every other.
TEST_P(NodeProgram, EverythingComesInNodesOrder) {
  std::string out;
  Context context{GetParam().make()};
  const auto say = [&out](std::string_view line) { (out += line) += '\n'; };
  const auto tick = [&](std::string_view line) { node::next_tick(context, [=] { say(line); }); };
  const auto micro = [&](std::string_view line) { node::queue_microtask(context, [=] { say(line); }); };
  const auto immediate = [&](std::string_view line) { node::set_immediate(context, [=] { say(line); }); };

  node::Server server;
  node::Socket client;
  const auto on_data = [&](const node::Socket& socket, std::string_view data) {
    say("data: " + std::string(data));
    tick("data: tick");
    node::queue_microtask(context, [&] {
      say("data: microtask");
      tick("data: microtask: tick");
      micro("data: microtask: microtask");
    });
    node::set_immediate(context, [&] {
      say("data: immediate");
      tick("data: immediate: tick");
    });
    socket.on_error([&](std::error_code) {
      say("server socket: error");
      tick("error: tick");
    });
    socket.on_close([&] {
      say("server socket: close");
      tick("server socket: close: tick");
      micro("server socket: close: microtask");
    });
    socket.destroy(std::make_error_code(std::errc::interrupted));
    immediate("data: immediate after destroy");
    server.close([&] {
      say("server: close");
      tick("server: close: tick");
    });
    say("data: end");
  };
  server = node::create_server(context, [&](const node::Socket& socket) {
    say("connection");
    tick("connection: tick");
    micro("connection: microtask");
    node::set_timeout(context, [&] {
      say("connection: timeout");
      tick("connection: timeout: tick");
    });
    node::set_immediate(context, [&] {
      say("connection: immediate");
      node::set_immediate(context, [&] {
        say("connection: immediate: immediate");
        client.write("hello");
      });
      micro("connection: immediate: microtask");
      node::next_tick(context, [&] {
        say("connection: immediate: tick");
        micro("connection: immediate: tick: microtask");
      });
    });
    immediate("connection: second immediate");
    socket.on_data([&on_data, socket](std::string_view data) { on_data(socket, data); });
  });
  server.on_listening([&] { say("listening event"); });
  server.listen(0, [&] {
    say("listening");
    tick("listening: tick");
    client = node::connect(context, server.address().port());
  });
  server.get_connections([&](std::error_code, std::size_t count) { say("connections: " + std::to_string(count)); });
  node::set_timeout(context, [&] {
    say("timeout");
    micro("timeout: microtask");
    tick("timeout: tick");
  });
  node::Timeout interval;
  interval = node::set_interval(
      context,
      [&] {
        say("interval");
        interval.clear();
        tick("interval: tick");
      },
      0ms);
  tick("main: tick");
  micro("main: microtask");
  node::next_tick(context, [&] {
    say("main: second tick");
    tick("main: tick: tick");
    micro("main: tick: microtask");
  });
  say("main");
  context.run();

  EXPECT_EQ(out,
            "main\n"
            "listening event\n"
            "listening\n"
            "connections: 0\n"
            "main: tick\n"
            "main: second tick\n"
            "listening: tick\n"
            "main: tick: tick\n"
            "main: microtask\n"
            "main: tick: microtask\n"
            "timeout\n"
            "timeout: tick\n"
            "timeout: microtask\n"
            "interval\n"
            "interval: tick\n"
            "connection\n"
            "connection: tick\n"
            "connection: microtask\n"
            "connection: immediate\n"
            "connection: immediate: tick\n"
            "connection: immediate: microtask\n"
            "connection: immediate: tick: microtask\n"
            "connection: second immediate\n"
            "connection: timeout\n"
            "connection: timeout: tick\n"
            "connection: immediate: immediate\n"
            "data: hello\n"
            "data: end\n"
            "data: tick\n"
            "server socket: error\n"
            "server: close\n"
            "error: tick\n"
            "server: close: tick\n"
            "data: microtask\n"
            "data: microtask: microtask\n"
            "data: microtask: tick\n"
            "data: immediate\n"
            "data: immediate: tick\n"
            "data: immediate after destroy\n"
            "server socket: close\n"
            "server socket: close: tick\n"
            "server socket: close: microtask\n");
}

}  // namespace
}  // namespace onloop::test
