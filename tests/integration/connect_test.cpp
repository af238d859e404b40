// Connecting: success, every way to fail, giving up, and bytes that were written before the connection was open.
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Connect : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(Connect);

// Expects exactly one on_close, without on_open before, with this error.
void expect_failed(const Recorder& client, std::errc error) {
  EXPECT_EQ(client.opens, 0);
  ASSERT_EQ(client.closes, 1);
  EXPECT_TRUE(is(client.errors[0], error)) << client.errors[0].message();
  EXPECT_EQ(client.calls, 1);
}

void exchanges_bytes(Context& context, const RawListener& listener) {
  Recorder client;
  client.when_open = [](Connection& connection) { connection.write("ping"); };
  const Connection& connection = context.connect(listener.address.to_string(), client);
  EXPECT_EQ(client.calls, 0) << "never inside a call of the application's";
  Peer server = listener.accept();
  ASSERT_TRUE(run_until(context, [&] { return server.read() && server.received() == "ping"; }));
  EXPECT_EQ(client.opens, 1);
  EXPECT_EQ(connection.peer(), listener.address);
  server.send("pong");
  ASSERT_TRUE(run_until(context, [&] { return client.received == "pong"; }));
  server.close();
  ASSERT_TRUE(run_until(context, [&] { return client.closes == 1; }));
  EXPECT_FALSE(client.errors[0]) << client.errors[0].message();
}

TEST_P(Connect, OverIpv4OpensAndExchangesBytes) {
  const RawListener listener("127.0.0.1:0");
  Context context{GetParam().make()};
  exchanges_bytes(context, listener);
}

TEST_P(Connect, OverIpv6OpensAndExchangesBytes) {
  const RawListener listener("[::1]:0");
  Context context{GetParam().make()};
  exchanges_bytes(context, listener);
}

TEST_P(Connect, ToAUnixPathOpensAndExchangesBytes) {
  const TemporaryDirectory directory;
  const RawListener listener("unix:" + directory.file("socket"));
  Context context{GetParam().make()};
  exchanges_bytes(context, listener);
}

TEST_P(Connect, RefusedIsOnCloseWithoutOnOpen) {
  Recorder client;
  const RefusedPort refused;
  Context context{GetParam().make()};
  context.connect(refused.address.to_string(), client);
  EXPECT_EQ(client.calls, 0) << "never inside connect()";
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  turns(context);
  expect_failed(client, std::errc::connection_refused);
}

TEST_P(Connect, ToAMissingUnixPathIsOnCloseWithoutOnOpen) {
  const TemporaryDirectory directory;
  Recorder client;
  Context context{GetParam().make()};
  context.connect("unix:" + directory.file("nobody"), client);
  EXPECT_EQ(client.calls, 0);
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  expect_failed(client, std::errc::no_such_file_or_directory);
}

TEST_P(Connect, ToAUnixSocketWithAFullBacklogFailsLaterAndOnce) {
  const TemporaryDirectory directory;
  const RawListener listener("unix:" + directory.file("socket"), 0);
  const Peer waiting = Peer::connect_to(listener.address);
  Recorder client;
  ConnectOptions options;
  options.timeout = 50ms;
  Context context{GetParam().make()};
  context.connect(listener.address.to_string(), client, options);
  EXPECT_EQ(client.calls, 0);
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  EXPECT_EQ(client.opens, 0);
  EXPECT_TRUE(client.errors[0]);
}

TEST_P(Connect, WithoutAnswerEndsWithTheTimeout) {
  const FullListener full;
  Recorder client;
  ConnectOptions options;
  options.timeout = 30ms;
  Context context{GetParam().make()};
  const auto start = Clock::now();
  context.connect(full.listener.address.to_string(), client, options);
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  EXPECT_GE(Clock::now() - start, 30ms);
  expect_failed(client, std::errc::timed_out);
}

TEST_P(Connect, TheTimeoutEndsWhenTheConnectionOpens) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  ConnectOptions options;
  options.timeout = 20ms;
  Context context{GetParam().make()};
  context.connect(listener.address.to_string(), client, options);
  bool later = false;
  const Timer timer = context.timer(40ms, [&] { later = true; });
  ASSERT_TRUE(run_until(context, [&] { return later; }));
  EXPECT_EQ(client.opens, 1);
  EXPECT_EQ(client.closes, 0);
}

TEST_P(Connect, LocalhostReachesAServerOnEitherFamily) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    const RawListener listener(address);
    Recorder client;
    Context context{GetParam().make()};
    const Connection& connection = context.connect("localhost:" + std::to_string(listener.address.port()), client);
    ASSERT_TRUE(run_until(context, [&] { return client.calls > 0; }));
    EXPECT_EQ(client.opens, 1) << address;
    EXPECT_EQ(connection.peer(), listener.address);
  }
}

TEST_P(Connect, LocalhostRefusedOnBothFamiliesFailsOnce) {
  Recorder client;
  const RefusedPort refused;
  Context context{GetParam().make()};
  context.connect("localhost:" + std::to_string(refused.address.port()), client);
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  turns(context);
  expect_failed(client, std::errc::connection_refused);
}

TEST_P(Connect, WhatWasWrittenBeforeSurvivesTheFallbackOfLocalhost) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  context.connect("localhost:" + std::to_string(listener.address.port()), client).write("early");
  Peer server;
  client.when_open = [&](Connection&) { server = listener.accept(); };
  EXPECT_TRUE(run_until(context, [&] { return server.fd() >= 0 && server.read() && server.received() == "early"; }));
}

TEST_P(Connect, ClosedWhileConnectingIsOnCloseWithCanceled) {
  const FullListener full;
  Recorder client;
  Context context{GetParam().make()};
  Connection& connection = context.connect(full.listener.address.to_string(), client);
  turns(context);
  connection.close();
  EXPECT_EQ(client.calls, 0) << "never inside close()";
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  expect_failed(client, std::errc::operation_canceled);
}

TEST_P(Connect, ClosedRightAfterConnectIsOnCloseWithCanceled) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  context.connect(listener.address.to_string(), client).close();
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  turns(context);
  expect_failed(client, std::errc::operation_canceled);
}

TEST_P(Connect, AbortedWhileConnectingIsOnCloseWithThatError) {
  const FullListener full;
  Recorder client;
  Context context{GetParam().make()};
  Connection& connection = context.connect(full.listener.address.to_string(), client);
  turns(context);
  connection.abort(errc(std::errc::protocol_error));
  EXPECT_EQ(client.calls, 0) << "never inside abort()";
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  expect_failed(client, std::errc::protocol_error);
}

TEST_P(Connect, WritesBeforeItIsOpenAreQueuedAndComeFirst) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  client.when_open = [](Connection& connection) { connection.write("three"); };
  Context context{GetParam().make()};
  Connection& connection = context.connect(listener.address.to_string(), client);
  EXPECT_EQ(connection.write("one"), Flow::go);
  EXPECT_EQ(connection.write("two"), Flow::go);
  EXPECT_EQ(connection.queued_bytes(), 6u);
  Peer server = listener.accept();
  ASSERT_TRUE(run_until(context, [&] { return server.read() && server.received().size() >= 11; }));
  EXPECT_EQ(server.received(), "onetwothree");
}

TEST_P(Connect, ShutDownBeforeItIsOpenFlushesThenEnds) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  Connection& connection = context.connect(listener.address.to_string(), client);
  connection.write("all");
  connection.shutdown_write();
  EXPECT_EQ(connection.write("more"), Flow::closed);
  Peer server = listener.accept();
  ASSERT_TRUE(run_until(context, [&] { return server.read() && server.over(); }));
  EXPECT_EQ(server.received(), "all");
  EXPECT_TRUE(server.ended());
  EXPECT_EQ(client.opens, 1);
  EXPECT_EQ(client.closes, 0) << "reading goes on";
}

// With an empty queue, the connection once did not wait until it was writable. So it never sent the FIN.
TEST_P(Connect, ShutDownBeforeItIsOpenEndsWithoutDataToo) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  context.connect(listener.address.to_string(), client).shutdown_write();
  Peer server = listener.accept();
  ASSERT_TRUE(run_until(context, [&] { return server.read() && server.over(); }));
  EXPECT_TRUE(server.ended());
  EXPECT_EQ(client.opens, 1);
}

TEST_P(Connect, PausedBeforeItIsOpenReadsNothingUntilResumed) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  Connection& connection = context.connect(listener.address.to_string(), client);
  connection.pause_reading();
  const Peer server = listener.accept();
  server.send("data");
  ASSERT_TRUE(run_until(context, [&] { return client.opens == 1; }));
  turns(context);
  EXPECT_EQ(client.datas, 0);
  connection.resume_reading();
  EXPECT_TRUE(run_until(context, [&] { return client.received == "data"; }));
}

TEST_P(Connect, ATcpConnectionSendsWithoutDelay) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  const Connection& connection = context.connect(listener.address.to_string(), client);
  ASSERT_TRUE(run_until(context, [&] { return client.opens == 1; }));
  int on = 0;
  socklen_t size = sizeof on;
  ASSERT_EQ(::getsockopt(connection.fd(), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
  EXPECT_NE(on, 0);
}

TEST_P(Connect, AMalformedAddressThrows) {
  Recorder client;
  Context context{GetParam().make()};
  for (const char* address : {"", "nowhere", "127.0.0.1", "example.org:http", "exa mple.org:80", "127.0.0.1:99999"}) {
    const Thrown thrown = thrown_by([&]() -> Connection& { return context.connect(address, client); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << address << ": " << thrown.words;
  }
  turns(context);
  EXPECT_EQ(client.calls, 0);
}

TEST_P(Connect, WithoutADescriptorLeftThrowsAndWorksLater) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  turns(context);  // afterwards, the context has opened everything that it opens in its first turn
  Thrown thrown;
  {
    const DescriptorsLeft none(0);
    thrown = thrown_by([&]() -> Connection& { return context.connect(listener.address.to_string(), client); });
  }
  EXPECT_TRUE(is(thrown.code, std::errc::too_many_files_open)) << thrown.words;
  EXPECT_NE(thrown.words.find(listener.address.to_string()), std::string::npos) << thrown.words;
  context.connect(listener.address.to_string(), client);
  EXPECT_TRUE(run_until(context, [&] { return client.opens == 1; }));
}

TEST_P(Connect, FailsAlsoIfSomebodyElseHasReadTheError) {
  const RefusedPort refused;
  Recorder client;
  Context context{GetParam().make()};
  const Connection& connection = context.connect(refused.address.to_string(), client);
  int error = 0;
  socklen_t size = sizeof error;
  ASSERT_EQ(::getsockopt(connection.fd(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
  ASSERT_EQ(error, ECONNREFUSED);
  ASSERT_TRUE(run_until(context, [&] { return client.closes > 0; }));
  EXPECT_EQ(client.opens, 0);
  EXPECT_TRUE(client.errors[0]);
}

// [::1], which is tried first, does not answer.
TEST_P(Connect, AnAddressThatDoesNotAnswerLeavesTimeForTheOther) {
  const FullListener silent("[::1]:0");
  std::optional<RawListener> answering;
  try {
    answering.emplace("127.0.0.1:" + std::to_string(silent.listener.address.port()));
  } catch (const std::system_error&) {
    GTEST_SKIP() << "the port is somebody's";
  }
  Recorder client;
  ConnectOptions options;
  options.timeout = 400ms;
  Context context{GetParam().make()};
  const Connection& connection =
      context.connect("localhost:" + std::to_string(silent.listener.address.port()), client, options);
  const auto start = Clock::now();
  ASSERT_TRUE(run_until(context, [&] { return client.calls > 0; }));
  ASSERT_EQ(client.opens, 1) << client.errors[0].message();
  EXPECT_GE(Clock::now() - start, 150ms) << "a share of the time, not none";
  EXPECT_EQ(connection.peer(), answering->address);
}

// The child has a network of its own. There the kernel can choose only one local port.
TEST_P(Connect, ToItselfIsRefused) {
  EXPECT_TRUE(in_child([&] {
    if (::unshare(CLONE_NEWNET) < 0) return;
    const Fd any(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    if (::ioctl(any.get(), SIOCSIFFLAGS, &request) < 0) return;
    std::ofstream range("/proc/sys/net/ipv4/ip_local_port_range");
    if (!(range << "41001 41001" << std::flush)) return;
    Recorder client;
    Context context{GetParam().make()};
    context.connect("127.0.0.1:41001", client);
    ASSERT_TRUE(run_until(context, [&] { return client.calls > 0; }));
    expect_failed(client, std::errc::connection_refused);
  }));
}

TEST_P(Connect, TakesAnAddressThatIsParsed) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  const Connection& connection = context.connect(listener.address, client);
  const Peer server = listener.accept();
  ASSERT_TRUE(run_until(context, [&] { return client.opens == 1; }));
  EXPECT_EQ(connection.peer(), listener.address);
}

TEST_P(Connect, TriesAddressesInTheirOrder) {
  const RefusedPort refused;
  const RawListener first("127.0.0.1:0");
  const RawListener second("[::1]:0");
  Recorder client;
  Context context{GetParam().make()};
  const std::vector<Address> addresses{refused.address, first.address, second.address};
  const Connection& connection = context.connect(addresses, client);
  ASSERT_TRUE(run_until(context, [&] { return client.opens == 1; }));
  EXPECT_EQ(connection.peer(), first.address);
}

TEST_P(Connect, ToAddressesThatAllRefuseFailsOnce) {
  const RefusedPort one;
  const RefusedPort other;
  Recorder client;
  Context context{GetParam().make()};
  context.connect(std::vector<Address>{one.address, other.address}, client);
  ASSERT_TRUE(run_until(context, [&] { return client.closes == 1; }));
  expect_failed(client, std::errc::connection_refused);
}

TEST_P(Connect, TakesWhatResolveGives) {
  const RawListener listener("127.0.0.1:0");
  Recorder client;
  Context context{GetParam().make()};
  resolve(context, "127.0.0.1", listener.address.port(),
          [&](Outcome<std::vector<Address>> found) { context.connect(found.get(), client); });
  EXPECT_TRUE(run_until(context, [&] { return client.opens == 1; }));
}

TEST_P(Connect, ToNoAddressThrows) {
  Recorder client;
  Context context{GetParam().make()};
  for (const std::vector<Address>& addresses :
       {std::vector<Address>{}, std::vector<Address>{Address()}, std::vector<Address>{Address::parse("fd:3")}}) {
    const Thrown thrown = thrown_by([&]() -> Connection& { return context.connect(addresses, client); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
  }
  turns(context);
  EXPECT_EQ(client.calls, 0);
}

}  // namespace
}  // namespace onloop::test
