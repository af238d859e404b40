// Sockets of onloop::node talk to each other. run() returns when everything is over.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "node_drive.hpp"

namespace onloop::test {
namespace {

class NodeSockets : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(NodeSockets);

// A server and its first client. The client has sent everything and its FIN before the server accepts it. Bytes on a
// UNIX socket arrive at once, so they cannot be late.
class EarlyClient {
 public:
  EarlyClient(Context& context, std::string_view text, std::function<void(node::Socket)> serve) {
    const node::Server server = serve_one(context, std::move(serve), {}, "unix:" + directory_.file("socket"));
    peer_ = Peer::connect_to(server.address());
    EXPECT_EQ(peer_.send(text), text.size());
    peer_.finish();
  }

 private:
  TemporaryDirectory directory_;
  Peer peer_;
};

// A context that needs many reads for the bytes of an EarlyClient.
Context slow_reader(const LoopCase& loop) {
  return Context(loop.make(), {.read_buffer = 4096});
}

// ---- the life of a connection ----

TEST_P(NodeSockets, AConnectionFromBeginningToEnd) {
  Notes at_server;
  Notes at_client;
  std::string received;
  node::Server server = node::create_server(context(), {}, [&](const node::Socket& socket) {
    at_server("connection")();
    server.close(at_server("told"));
    echo(socket);
    socket.on_end(at_server("end"));
    socket.on_close([&](std::error_code error) {
      EXPECT_FALSE(error) << error.message();
      at_server("close")();
    });
  });
  server.on_close(at_server("closed"));
  server.listen(0, "127.0.0.1", [&] {
    at_server("listening")();
    const node::Socket client = node::connect(context(), server.address().port(), "127.0.0.1", at_client("connect"));
    client.on_connect([client] { client.write("hello"); });
    client.on_data([&, client](std::string_view data) {
      received += data;
      if (received == "hello") client.end(", and bye");
    });
    client.on_end(at_client("end"));
    client.on_error([](std::error_code error) { ADD_FAILURE() << error.message(); });
    client.on_close([&](std::error_code error) {
      EXPECT_FALSE(error) << error.message();
      at_client("close")();
    });
  });
  EXPECT_EQ(at_server.words, "") << "never inside listen()";
  run_to_the_end(context());
  EXPECT_EQ(received, "hello, and bye");
  EXPECT_EQ(at_server.words, "listening connection end closed told close ");
  EXPECT_EQ(at_client.words, "connect end close ");
}

TEST_P(NodeSockets, BytesAndText) {
  std::vector<std::byte> received;
  bool connected = false;
  const node::Server server = serve_one(context(), echo);
  const node::Socket client = node::connect(context(), server.address().port(), [&] { connected = true; });
  client.on_data([&](std::span<const std::byte> data) { received.insert(received.end(), data.begin(), data.end()); });
  const std::vector<std::byte> sent{std::byte{0}, std::byte{255}, std::byte{7}};
  EXPECT_TRUE(client.write(sent)) << "queued while it connects";
  client.end();
  run_to_the_end(context());
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(connected);
}

TEST_P(NodeSockets, OverAUnixSocketAndByName) {
  const TemporaryDirectory directory;
  Context context{GetParam().make()};
  std::string received;
  for (const std::string& address : {"unix:" + directory.file("socket"), std::string("localhost:0")}) {
    const node::Server server = node::create_server(context);
    server.on_connection([&, server](const node::Socket& socket) {
      socket.on_data([&](std::string_view data) { received += data; });
      server.close();
    });
    bool listening = false;
    server.listen(address, [&] { listening = true; });
    connect_to(context, server).end("text");
    run_to_the_end(context);
    EXPECT_TRUE(listening);
  }
  EXPECT_EQ(received, "texttext");
}

TEST_P(NodeSockets, ItsConnectOptionsHold) {
  const node::Server server = serve_one(context(), [](const node::Socket& socket) { socket.resume(); });
  node::SocketOptions options;
  options.connect.limits.high_water = options.connect.limits.low_water = 4;
  const node::Socket client = connect_to(context(), server, options);
  bool drained = false;
  client.on_drain([&, client] {
    drained = true;
    client.end();
  });
  EXPECT_TRUE(client.write("four"));
  EXPECT_FALSE(client.write("and more"));
  run_to_the_end(context());
  EXPECT_TRUE(drained);
}

// ---- half-close ----

TEST_P(NodeSockets, AtThePeersEndItEndsByItselfAfterAllThatItSaid) {
  const std::string much = pattern(3'000'000);
  std::string received;
  bool ended = false;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_end([&, socket] { socket.write(much); });
    socket.resume();
  });
  const node::Socket client = connect_to(context(), server);
  client.on_data([&](std::string_view data) { received += data; });
  client.on_end([&] { ended = received == much; });
  client.end();
  run_to_the_end(context());
  EXPECT_TRUE(ended);
}

TEST_P(NodeSockets, AllowedToBeHalfOpenItGoesOnUntilItEnds) {
  std::string received;
  node::ServerOptions options;
  options.allow_half_open = true;
  const node::Server server = serve_one(
      context(),
      [&](const node::Socket& socket) {
        socket.resume();
        socket.on_end([&, socket] { after_turns(context(), [socket] { socket.end("later"); }); });
      },
      options);
  const node::Socket client = connect_to(context(), server);
  client.on_data([&](std::string_view data) { received += data; });
  client.end();
  run_to_the_end(context());
  EXPECT_EQ(received, "later");
}

TEST_P(NodeSockets, AClientMayBeAllowedToBeHalfOpenToo) {
  std::string received;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([&](std::string_view data) { received += data; });
    socket.end();
  });
  node::SocketOptions options;
  options.allow_half_open = true;
  const node::Socket client = connect_to(context(), server, options);
  client.resume();
  client.on_end([&, client] { after_turns(context(), [client] { client.end("still here"); }); });
  run_to_the_end(context());
  EXPECT_EQ(received, "still here");
}

// ---- reading: paused until somebody listens ----

TEST_P(NodeSockets, WhatComesBeforeAnybodyListensIsKeptInOrder) {
  Context context = slow_reader(GetParam());
  const std::string all = pattern(100'000);
  std::string received;
  bool ended = false;
  bool late = false;
  const EarlyClient client(context, all, [&](const node::Socket& socket) {
    socket.on_end([&] { ended = true; });
    after_turns(context, [&, socket] {
      EXPECT_FALSE(ended) << "before the data";
      socket.on_data([&](std::string_view data) {
        EXPECT_TRUE(late) << "from within on_data()";
        received += data;
      });
      late = true;
    });
  });
  run_to_the_end(context);
  EXPECT_TRUE(received == all);
  EXPECT_TRUE(ended);
}

TEST_P(NodeSockets, ThePeersEndIsSeenWithoutAnybodyListeningToData) {
  Notes notes;
  const node::Server server = serve_one(context(), [](const node::Socket& socket) { socket.end(); });
  const node::Socket client = connect_to(context(), server);
  client.on_end(notes("end"));
  client.on_close(notes("close"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "end close ");
}

TEST_P(NodeSockets, PausedItGetsNothingAndResumedEverything) {
  Context context = slow_reader(GetParam());
  const std::string all = pattern(100'000);
  std::string received;
  int pauses = 0;
  bool paused = false;
  const EarlyClient client(context, all, [&](const node::Socket& socket) {
    socket.on_data([&, socket](std::string_view data) {
      EXPECT_FALSE(paused);
      received += data;
      if (pauses == 3) return;
      ++pauses;
      socket.pause();
      paused = true;
      after_turns(context, [&, socket] {
        paused = false;
        socket.resume();
      });
    });
  });
  run_to_the_end(context);
  EXPECT_TRUE(received == all);
  EXPECT_EQ(pauses, 3);
}

TEST_P(NodeSockets, PausedBeforeAnybodyListensItStaysPaused) {
  std::string received;
  const EarlyClient client(context(), "kept", [&](const node::Socket& socket) {
    socket.pause();
    socket.on_data([&](std::string_view data) { received += data; });
    after_turns(context(), [&, socket] {
      EXPECT_EQ(received, "");
      socket.resume();
      socket.pause();  // before it has begun
      after_turns(context(), [&, socket] {
        EXPECT_EQ(received, "");
        socket.resume();
      });
    });
  });
  run_to_the_end(context());
  EXPECT_EQ(received, "kept");
}

// ---- writing ----

TEST_P(NodeSockets, AboveTheHighWaterMarkWriteIsFalseUntilDrain) {
  const std::string piece = pattern(100'000);
  std::size_t received = 0;
  int refusals = 0;
  int drains = 0;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([&](std::string_view data) { received += data.size(); });
  });
  const node::Socket client = connect_to(context(), server);
  std::size_t written = 0;
  const auto go_on = [&, client] {
    while (written < 100 * piece.size()) {
      written += piece.size();
      if (!client.write(piece)) {
        ++refusals;
        return;
      }
    }
    client.end();
  };
  client.on_connect(go_on);
  client.on_drain([&, go_on] {
    ++drains;
    go_on();
  });
  run_to_the_end(context());
  EXPECT_EQ(received, 100 * piece.size());
  EXPECT_EQ(drains, refusals);
  EXPECT_GT(drains, 0);
}

TEST_P(NodeSockets, AfterEndAWriteIsFalseAndNoError) {
  std::string received;
  const node::Server server = serve_one(context(), echo);
  const node::Socket client = connect_to(context(), server);
  client.on_data([&](std::string_view data) { received += data; });
  client.on_error([](std::error_code error) { ADD_FAILURE() << error.message(); });
  client.end("all");
  EXPECT_FALSE(client.write(" and more"));
  run_to_the_end(context());
  EXPECT_EQ(received, "all");
  EXPECT_FALSE(client.write("and more"));
}

// ---- the rest ----

TEST_P(NodeSockets, AnIdleSocketIsToldAndLivesOn) {
  Notes notes;
  const node::Server server = serve_one(context(), echo);
  const node::Socket client = connect_to(context(), server);
  Clock::time_point last;
  client.on_connect([&, client] {
    last = Clock::now();  // taken before the clock of the time-out starts; the same holds before the write below
    client.set_timeout(10ms, [&, client] {
      EXPECT_GE(Clock::now() - last, 10ms);
      notes("timeout")();
      if (notes.words == "timeout ") {
        last = Clock::now();
        client.write("x");
      } else {
        client.set_timeout(0ms);
        client.end();
      }
    });
  });
  client.on_data([&](std::string_view) { notes("data")(); });
  client.on_close(notes("close"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "timeout data timeout close ");
}

TEST_P(NodeSockets, AddressesOfBothSidesWhileItIsOpen) {
  Address seen_by_server;
  Address client_of_server;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    seen_by_server = socket.remote_address();
    socket.resume();
  });
  const Address listening = server.address();
  const node::Socket client = connect_to(context(), server);
  client.on_connect([&, client] {
    EXPECT_EQ(client.remote_address(), listening);
    client_of_server = client.local_address();
    client.end();
  });
  run_to_the_end(context());
  EXPECT_EQ(seen_by_server, client_of_server);
  EXPECT_EQ(client.remote_address(), Address());
  EXPECT_EQ(client.local_address(), Address());
}

TEST_P(NodeSockets, AnUnreferencedSocketKeepsNothingRunning) {
  node::Socket accepted;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    accepted = socket;
    socket.unref();
    EXPECT_FALSE(socket.has_ref());
  });
  const node::Socket client = connect_to(context(), server);
  client.on_connect([client] { client.unref(); });
  run_to_the_end(context());
  EXPECT_FALSE(client.destroyed());
  client.ref();
  EXPECT_TRUE(client.has_ref());
  accepted.end();
  run_to_the_end(context());
  EXPECT_TRUE(client.destroyed());
}

TEST_P(NodeSockets, ListenersAreCalledInOrderAndLaterOnesFromTheNextEventOn) {
  Notes notes;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([&, socket](std::string_view) {
      notes("first")();
      socket.on_data([&](std::string_view) { notes("third")(); });
      socket.write("answer");
    });
    socket.on_data([&](std::string_view) { notes("second")(); });
  });
  const node::Socket client = connect_to(context(), server);
  int answers = 0;
  client.on_data([&, client](std::string_view) { ++answers == 1 ? (void)client.write("2") : client.end(); });
  client.write("1");
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "first second first second third ");
}

TEST_P(NodeSockets, AListenerThatDestroysItHidesTheEventFromNoOther) {
  Notes notes;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([socket](std::string_view) { socket.destroy(); });
    socket.on_data([&](std::string_view) { notes("second")(); });
    socket.on_end(notes("end"));
    socket.on_close(notes("close"));
  });
  connect_to(context(), server).end("x");
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "second close ");
}

TEST_P(NodeSockets, WhatItsListenersOwnGoesWithIt) {
  const auto owned = flag();
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([socket, owned](std::string_view) {});
    socket.on_end([socket, owned] {});
    socket.on_drain([socket, owned] {});
    socket.on_timeout([socket, owned] {});
    socket.on_error([socket, owned](std::error_code) {});
    socket.on_close([socket, owned] {
      socket.on_close([socket, owned] {});
      socket.on_data([socket, owned](std::string_view) {});
    });
  });
  node::Socket client = connect_to(context(), server);
  client.on_connect([client, owned] { client.end("x"); });
  client.on_data([client, owned](std::string_view) {});
  run_to_the_end(context());
  EXPECT_EQ(owned.use_count(), 1);
  client.on_data([client, owned](std::string_view) {});
  EXPECT_EQ(owned.use_count(), 1) << "nothing would drop it";
}

TEST_P(NodeSockets, CallsOnNoSocketAndOnOneThatIsOverAreHarmless) {
  const node::Server server = serve_one(context(), [](const node::Socket& socket) { socket.end(); });
  const node::Socket over = connect_to(context(), server);
  run_to_the_end(context());
  for (const node::Socket& socket : {node::Socket(), over}) {
    socket.on_data([](std::span<const std::byte>) { FAIL(); });
    socket.on_connect([] { FAIL(); });
    socket.on_close([] { FAIL(); });
    socket.resume();
    socket.pause();
    socket.set_timeout(1ms, [] { FAIL(); });
    socket.end("x");
    socket.destroy(std::make_error_code(std::errc::bad_message));
    EXPECT_TRUE(socket.destroyed());
    EXPECT_FALSE(socket.write("x"));
    EXPECT_EQ(socket.remote_address(), Address());
    socket.ref();
    socket.unref();
  }
  run_to_the_end(context());
  EXPECT_EQ(over, node::Socket(over));
  EXPECT_FALSE(over == node::Socket());
}

TEST_P(NodeSockets, TimeoutDoesNotComeWhileASlowPeerReads) {
  const RawListener listener("127.0.0.1:0");
  const node::Socket client = node::connect(context(), listener.address.to_string());
  Peer peer = listener.accept();
  const int small = 32'768;
  ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  const std::string all = pattern(6'000'000);
  bool all_read = false;
  int early = 0;
  int timeouts = 0;
  client.write(all);
  client.set_timeout(60ms, [&] {
    ++timeouts;
    if (!all_read) ++early;
    client.destroy();
  });
  auto last = Clock::now();
  Clock::duration longest_pause{0};
  node::Timeout reading;
  reading = node::set_interval(
      context(),
      [&] {
        const auto now = Clock::now();
        longest_pause = std::max(longest_pause, now - std::exchange(last, now));
        peer.read(20'000);
        all_read = peer.received().size() == all.size();
        if (all_read || peer.over()) reading.clear();
      },
      2ms);
  run_to_the_end(context());
  if (longest_pause > 40ms) GTEST_SKIP() << "the machine held the peer up";
  EXPECT_EQ(early, 0);
  EXPECT_EQ(timeouts, 1);
  EXPECT_TRUE(peer.received() == all);
}

TEST_P(NodeSockets, TimeoutIsNotPutOffByWritesOfNothing) {
  const node::Server server = serve_one(context(), echo);
  const node::Socket client = connect_to(context(), server);
  const node::Timeout writing = node::set_interval(
      context(), [&] { client.write(""); }, 5ms);
  client.set_timeout(50ms, [&] {
    client.destroy();
    writing.clear();
  });
  run_to_the_end(context());
}

// An option of this process's socket that is connected to `port`.
int option_of_client(std::uint16_t port, int level, int name) {
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) < 0 || ntohs(peer.sin_port) != port) continue;
    int value = -1;
    size = sizeof value;
    ::getsockopt(fd, level, name, &value, &size);
    return value;
  }
  return -1;
}

TEST_P(NodeSockets, ItsOptionsReachTheSocketAlsoWhenTheyAreSetWhileItConnects) {
  const node::Server server = serve_one(context(), echo);
  const std::uint16_t port = server.address().port();
  const node::Socket client = connect_to(context(), server);
  client.set_keep_alive(true, 77s);
  client.set_no_delay(false);
  client.on_connect([&, client] {
    EXPECT_EQ(option_of_client(port, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option_of_client(port, IPPROTO_TCP, TCP_KEEPIDLE), 77);
    EXPECT_EQ(option_of_client(port, IPPROTO_TCP, TCP_NODELAY), 0);
    client.set_keep_alive(false);
    client.set_no_delay();
    EXPECT_EQ(option_of_client(port, SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(option_of_client(port, IPPROTO_TCP, TCP_NODELAY), 1);
    client.end();
  });
  run_to_the_end(context());
}

}  // namespace
}  // namespace onloop::test
