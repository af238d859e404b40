// Servers of onloop::node.
#include "node_drive.hpp"

namespace onloop::test {
namespace {

class NodeServers : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(NodeServers);

TEST_P(NodeServers, WithoutAHandleItListensOnAndKeepsRunning) {
  Context context{GetParam().make()};
  Address address;
  int served = 0;
  {
    const node::Server server = node::create_server(context);
    server.on_connection([&, server](const node::Socket& socket) {
      socket.end();
      if (++served == 3) server.close();
    });
    server.listen("127.0.0.1:0");
    address = server.address();
  }
  // Before each client there are turns in which only the server keeps run() running. Timers of Context do not keep it
  // running.
  Timer next;
  int turn = 0;
  const std::function<void()> go_on = [&] {
    if (++turn % 20 != 0) {
      next = context.timer(0ns, [&] { go_on(); });
    } else {
      node::connect(context, address.to_string()).on_close([&] {
        if (served < 3) go_on();
      });
    }
  };
  go_on();
  run_to_the_end(context);
  EXPECT_EQ(served, 3);
}

TEST_P(NodeServers, ListeningIsToldToAllWhoListenAndAddressIsThere) {
  Notes notes;
  const node::Server server = node::create_server(context());
  EXPECT_EQ(server.address(), Address());
  EXPECT_FALSE(server.listening());
  server.on_listening([&] {
    notes("listener")();
    server.close();
  });
  server.listen(0, notes("callback"));
  EXPECT_TRUE(server.listening());
  EXPECT_NE(server.address().port(), 0);
  EXPECT_EQ(notes.words, "");
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "listener callback ");
  EXPECT_EQ(server.address(), Address());
}

TEST_P(NodeServers, ClosedBeforeItWasToldItNeverListened) {
  Notes notes;
  const node::Server server = node::create_server(context());
  server.listen(0, notes("listening"));
  server.close(notes("closed"));
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "closed ");
}

TEST_P(NodeServers, ThatItCannotListenIsThrownIfNobodyListensToErrors) {
  const RawListener taken("127.0.0.1:0");
  Context context{GetParam().make()};
  const node::Server server = node::create_server(context);
  const Thrown thrown = thrown_by([&] { return server.listen(taken.address.port()), 0; });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  run_to_the_end(context);
}

TEST_P(NodeServers, ThatItCannotListenIsAnErrorForThoseWhoListenToItAndItMayTryAgain) {
  const RawListener taken("127.0.0.1:0");
  Context context{GetParam().make()};
  Notes notes;
  const node::Server server = node::create_server(context);
  server.on_error([&](std::error_code error) {
    EXPECT_TRUE(is(error, std::errc::address_in_use)) << error.message();
    notes("error")();
    server.listen(0, [&] {
      notes("listening")();
      server.close();
    });
  });
  server.listen(taken.address.port(), notes("too early"));
  EXPECT_EQ(notes.words, "");
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "error listening ");
}

TEST_P(NodeServers, ListeningTwiceOrAgainIsRefused) {
  const node::Server server = node::create_server(context());
  server.listen(0);
  EXPECT_TRUE(is(thrown_by([&] { return server.listen(0), 0; }).code, std::errc::invalid_argument));
  server.close();
  EXPECT_TRUE(is(thrown_by([&] { return server.listen(0), 0; }).code, std::errc::invalid_argument));
  EXPECT_TRUE(is(thrown_by([&] { return node::Server().listen(0), 0; }).code, std::errc::invalid_argument));
  run_to_the_end(context());
}

TEST_P(NodeServers, HostsAreIpAddresses) {
  for (const char* host : {"::1", "[::1]", "127.0.0.1"}) {
    const node::Server server = node::create_server(context());
    server.listen(0, host, [server] { server.close(); });
    EXPECT_EQ(server.address().family(), host[0] == '1' ? Address::Family::ipv4 : Address::Family::ipv6);
  }
  run_to_the_end(context());
}

TEST_P(NodeServers, CountsItsConnections) {
  Notes notes;
  std::vector<node::Socket> clients;
  const node::Server server = node::create_server(context());
  std::size_t most = 0;
  std::size_t told = 0;
  server.on_connection([&](const node::Socket& socket) {
    socket.resume();
    most = server.get_connections();
    server.get_connections([&](std::error_code error, std::size_t count) {
      EXPECT_FALSE(error);
      told = count;
      if (count < 3) return;
      server.close();
      for (const node::Socket& client : clients) client.end();
    });
    EXPECT_EQ(told + 1, most) << "told by a tick";
  });
  server.listen(0);
  for (int i = 0; i < 3; ++i) clients.push_back(node::connect(context(), server.address().port()));
  run_to_the_end(context());
  EXPECT_EQ(most, 3u);
  EXPECT_EQ(told, 3u);
  EXPECT_EQ(server.get_connections(), 0u);
}

TEST_P(NodeServers, CloseTakesNoFurtherClientAndIsOverWithTheLastConnection) {
  Notes notes;
  Address address;
  const node::Server server = node::create_server(context());
  server.on_connection([&](const node::Socket& socket) {
    server.close([&](std::error_code error) {
      EXPECT_FALSE(error) << error.message();
      notes("closed")();
    });
    const node::Socket late = node::connect(context(), address.to_string(), [] { FAIL(); });
    late.on_error([&, socket](std::error_code error) {
      EXPECT_TRUE(is(error, std::errc::connection_refused)) << error.message();
      notes("refused")();
      socket.end();
    });
  });
  server.on_close(notes("close"));
  server.listen(address_of_our_own());
  address = server.address();
  node::connect(context(), address.to_string());
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "refused close closed ");
}

TEST_P(NodeServers, CloseOfOneThatDoesNotListenTellsSo) {
  Notes notes;
  const node::Server server = node::create_server(context());
  server.close([&](std::error_code error) {
    EXPECT_TRUE(is(error, std::errc::not_connected)) << error.message();
    notes("told")();
  });
  server.close();
  server.close(notes("and this"));
  EXPECT_EQ(notes.words, "");
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "told and this ");
}

TEST_P(NodeServers, AnUnreferencedOneKeepsNothingRunningButItsConnectionsDo) {
  std::string received;
  const node::Server server = node::create_server(
      context(), [&](const node::Socket& socket) { socket.on_data([&](std::string_view data) { received += data; }); });
  server.listen(0);
  server.unref();
  EXPECT_FALSE(server.has_ref());
  run_to_the_end(context());
  node::connect(context(), server.address().port()).end("served");
  run_to_the_end(context());
  EXPECT_EQ(received, "served");
  server.ref();
  EXPECT_TRUE(server.has_ref());
  node::set_timeout(
      context(), [server] { server.close(); }, 1ms);
  run_to_the_end(context());
}

TEST_P(NodeServers, ItsListenOptionsHold) {
  ContextOptions quiet;
  quiet.on_error = [](std::error_code, std::string_view) {};
  Context context{GetParam().make(), quiet};
  node::ServerOptions options;
  options.listen.max_connections = 1;
  Notes notes;
  const node::Server server = node::create_server(context, options, [&](const node::Socket& socket) {
    notes("connection")();
    socket.resume();
    const node::Socket second = node::connect(context, socket.local_address().to_string());
    second.on_close([&, socket] {
      notes("turned away")();
      socket.end();
    });
  });
  server.on_connection([server](const node::Socket& socket) { socket.on_close([server] { server.close(); }); });
  server.listen(0);
  node::connect(context, server.address().port());
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "connection turned away ");
}

TEST_P(NodeServers, WhatItsListenersOwnGoesWithIt) {
  const auto owned = flag();
  node::Server server = node::create_server(context());
  server.on_connection([server, owned](const node::Socket&) {});
  server.on_listening([server, owned] { server.close(); });
  server.on_error([server, owned](std::error_code) {});
  server.on_close([server, owned] {});
  server.listen(0);
  run_to_the_end(context());
  EXPECT_EQ(owned.use_count(), 1);
  server.on_close([server, owned] {});
  EXPECT_EQ(owned.use_count(), 1) << "nothing would drop it";
}

TEST_P(NodeServers, OneThatNeverListenedGoesWithTheContext) {
  const auto owned = flag();
  {
    Context context{GetParam().make()};
    const node::Server server = node::create_server(context);
    server.on_connection([server, owned](const node::Socket&) {});
    EXPECT_EQ(owned.use_count(), 2);
  }
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_P(NodeServers, CallsOnNoServerAreHarmless) {
  const node::Server none;
  none.on_connection([](const node::Socket&) {});
  none.on_listening([] {});
  none.on_error([](std::error_code) {});
  none.on_close([] {});
  none.close([] {});
  none.get_connections([](std::error_code, std::size_t) {});
  EXPECT_EQ(none.get_connections(), 0u);
  EXPECT_EQ(none.address(), Address());
  EXPECT_FALSE(none.listening());
  none.ref();
  none.unref();
  EXPECT_FALSE(none.has_ref());
  EXPECT_EQ(none, node::Server());
}

}  // namespace
}  // namespace onloop::test
