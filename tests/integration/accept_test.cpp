// Accepting clients, turning them away, and running out of descriptors.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "drive.hpp"

namespace {

int accept_error = 0;  // the error that accept4() returns; 0: none
int accept_calls = 0;

}  // namespace

/// Replaces the function of libc, also for the library that is linked into this program.
extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  if (accept_error == 0) return static_cast<int>(::syscall(SYS_accept4, fd, address, size, flags));
  ++accept_calls;
  errno = accept_error;
  return -1;
}

namespace onloop::test {
namespace {

class Accept : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Accept);

std::vector<Peer> connect_many(const Address& address, int count) {
  std::vector<Peer> peers;
  for (int i = 0; i < count; ++i) peers.push_back(Peer::connect_to(address));
  return peers;
}

int count_over(std::vector<Peer>& peers) {
  return static_cast<int>(
      std::count_if(peers.begin(), peers.end(), [](Peer& peer) { return peer.read(), peer.over(); }));
}

Address local_address(const Peer& peer) {
  sockaddr_in in{};
  socklen_t size = sizeof in;
  ::getsockname(peer.fd(), reinterpret_cast<sockaddr*>(&in), &size);
  return Address::parse("127.0.0.1:" + std::to_string(ntohs(in.sin_port)));
}

TEST_P(Accept, EveryOneOfManyClientsThatComeAtOnce) {
  const Listener& listener = context().listen("127.0.0.1:0", echo_);
  std::vector<Peer> peers = connect_many(listener.address(), 300);
  for (const Peer& peer : peers) peer.send("x");
  ASSERT_TRUE(run_until(context(), [&] {
    return std::all_of(peers.begin(), peers.end(), [](Peer& peer) { return peer.read(), peer.received() == "x"; });
  }));
  EXPECT_EQ(listener.connection_count(), 300u);
}

TEST_P(Accept, AnAcceptedConnectionKnowsBothItsEnds) {
  const Listener& listener = context().listen("127.0.0.1:0", recorder_);
  const Peer peer = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  EXPECT_EQ(recorder_.last->peer(), local_address(peer));
  EXPECT_EQ(recorder_.last->local(), listener.address());
  EXPECT_EQ(&recorder_.last->context(), &context());
}

// getpeername(2) fails for a connection that was reset, and for a closed descriptor.
TEST_P(Accept, AClientThatHasResetIsStillKnownByItsAddress) {
  Recorder recorder;
  Address at_open;
  Address at_close;
  recorder.when_open = [&](Connection& connection) { at_open = connection.peer(); };
  recorder.when_close = [&](Connection& connection, std::error_code) { at_close = connection.peer(); };
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", recorder);
  Peer peer = Peer::connect_to(listener.address());
  const Address address = local_address(peer);
  peer.reset();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
  EXPECT_EQ(at_open, address) << at_open.to_string();
  EXPECT_EQ(at_close, address) << at_close.to_string();
}

// After any error of accept4(), the error is reported once, and the listener rests before it tries again.
TEST_P(Accept, RestsAfterAnErrorThatNobodyForesaw) {
  for (const int error : {EACCES, EPERM, ENOSYS, EOPNOTSUPP, ENOMEM, EIO, ECONNABORTED, EHOSTUNREACH}) {
    int reports = 0;
    ContextOptions options;
    options.on_error = [&](std::error_code, std::string_view) { ++reports; };
    Echo echo;
    Context context{GetParam().make(), options};
    const Listener& listener = context.listen("127.0.0.1:0", echo);
    Peer peer = Peer::connect_to(listener.address());
    peer.send("hello");
    accept_calls = 0;
    accept_error = error;
    EXPECT_TRUE(run_until(context, [&] { return reports > 0; }));
    turns(context, 50);
    EXPECT_LE(accept_calls, 200) << std::strerror(error);
    accept_error = 0;
    EXPECT_TRUE(run_until(context, [&] { return peer.read(), peer.received() == "hello"; })) << std::strerror(error);
    EXPECT_EQ(reports, 1) << std::strerror(error);
  }
}

TEST_P(Accept, AClientOfAUnixSocketHasNoAddress) {
  const TemporaryDirectory directory;
  Recorder recorder;
  Address seen = Address::parse("127.0.0.1:1");
  recorder.when_accept = [&](const Address& peer) {
    seen = peer;
    return true;
  };
  Context context{GetParam().make()};
  const Listener& listener = context.listen("unix:" + directory.file("socket"), recorder);
  const Peer peer = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
  EXPECT_EQ(seen, Address{});
  EXPECT_EQ(recorder.last->peer(), Address{});
  EXPECT_EQ(recorder.last->peer().to_string(), "unknown");
}

TEST_P(Accept, ATcpConnectionSendsWithoutDelayAndIsClosedOnExec) {
  const Listener& listener = context().listen("127.0.0.1:0", recorder_);
  const Peer peer = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  int on = 0;
  socklen_t size = sizeof on;
  ASSERT_EQ(::getsockopt(recorder_.last->fd(), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
  EXPECT_NE(on, 0);
  EXPECT_EQ(::fcntl(recorder_.last->fd(), F_GETFD), FD_CLOEXEC);
}

TEST_P(Accept, FalseFromOnAcceptTurnsAwayThatClientAlone) {
  Recorder recorder;
  Address unwanted;
  recorder.when_accept = [&](const Address& peer) { return peer != unwanted; };
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", recorder);
  Peer away = Peer::connect_to(listener.address());
  unwanted = local_address(away);
  const Peer welcome = Peer::connect_to(listener.address());
  ASSERT_TRUE(run_until(context, [&] { return away.read(), away.over() && recorder.opens == 1; }));
  EXPECT_EQ(recorder.accepts, 2);
  EXPECT_EQ(listener.connection_count(), 1u);
  EXPECT_EQ(recorder.closes, 0) << "there was no connection";
}

TEST_P(Accept, ClientsBeyondMaxConnectionsAreClosedUntilOthersLeave) {
  Recorder recorder;
  ListenOptions options;
  options.max_connections = 3;
  Context context{GetParam().make()};
  const Listener& listener = context.listen("127.0.0.1:0", recorder, options);
  std::vector<Peer> peers = connect_many(listener.address(), 8);
  ASSERT_TRUE(run_until(context, [&] { return count_over(peers) == 5; }));
  EXPECT_EQ(recorder.opens, 3);
  EXPECT_EQ(listener.connection_count(), 3u);
  for (Peer& peer : peers) peer.close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 3; }));
  EXPECT_EQ(listener.connection_count(), 0u);
  const Peer next = Peer::connect_to(listener.address());
  EXPECT_TRUE(run_until(context, [&] { return recorder.opens == 4; }));
}

TEST_P(Accept, ConnectionCountIsOfThatListenerUntilOnClose) {
  const Listener& first = context().listen("127.0.0.1:0", recorder_);
  const Listener& second = context().listen("127.0.0.1:0", recorder_);
  std::vector<Peer> peers = connect_many(first.address(), 2);
  const Peer other = Peer::connect_to(second.address());
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 3; }));
  EXPECT_EQ(first.connection_count(), 2u);
  EXPECT_EQ(second.connection_count(), 1u);
  peers[0].close();
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.closes == 1; }));
  EXPECT_EQ(first.connection_count(), 1u);
}

TEST_P(Accept, PausedLeavesClientsWaitingUntilResumed) {
  Recorder recorder;
  Context context{GetParam().make()};
  Listener& listener = context.listen("127.0.0.1:0", recorder);
  turns(context);
  listener.pause();
  std::vector<Peer> peers = connect_many(listener.address(), 3);
  turns(context, 50);
  EXPECT_EQ(recorder.accepts, 0);
  EXPECT_EQ(count_over(peers), 0);
  if (GetParam().has_fd) {
    EXPECT_FALSE(readable(context.pollable_fd(), 20ms)) << "waiting clients cost turns";
  }
  listener.resume();
  EXPECT_EQ(recorder.accepts, 0) << "never inside resume()";
  EXPECT_TRUE(run_until(context, [&] { return recorder.opens == 3; }));
}

TEST_P(Accept, PausedInOnOpenAcceptsNoMoreInThatTurn) {
  Listener& listener = context().listen("127.0.0.1:0", recorder_);
  recorder_.when_open = [&](Connection&) { listener.pause(); };
  std::vector<Peer> peers = connect_many(listener.address(), 5);
  for (int expected = 1; expected <= 5; ++expected) {
    ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == expected; }));
    turns(context());
    EXPECT_EQ(recorder_.opens, expected);
    listener.resume();
  }
}

TEST_P(Accept, CloseRefusesNewClientsAndLeavesTheAcceptedOnes) {
  Listener& listener = context().listen(address_of_our_own(), echo_);
  const Address address = listener.address();
  Peer peer = Peer::connect_to(address);
  ASSERT_TRUE(run_until(context(), [&] { return listener.connection_count() == 1; }));
  listener.close();
  EXPECT_TRUE(is(thrown_by([&] { return Peer::connect_to(address); }).code, std::errc::connection_refused));
  peer.send("still here");
  EXPECT_TRUE(run_until(context(), [&] { return peer.read(), peer.received() == "still here"; }));
}

TEST_P(Accept, OutOfDescriptorsTurnsAwayThoseBeyondAndServesAgainAfterwards) {
  constexpr int kClients = 20;
  Recorder recorder;
  int errors = 0;
  std::error_code error;
  std::string words;
  ContextOptions options;
  options.on_error = [&](std::error_code code, std::string_view what) {
    ++errors;
    error = code;
    words = what;
  };
  Context context{GetParam().make(), options};
  const Listener& listener = context.listen("127.0.0.1:0", recorder);
  turns(context);
  const int fd = GetParam().has_fd ? context.pollable_fd() : -1;
  std::vector<Peer> peers = connect_many(listener.address(), kClients);
  const DescriptorsLeft few(4);
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens + count_over(peers) == kClients; }));
  EXPECT_GE(recorder.opens, 1);
  EXPECT_LE(recorder.opens, 4);
  EXPECT_GE(errors, 1) << "the application is told";
  EXPECT_LE(errors, kClients) << "at most once for each client";
  EXPECT_TRUE(is(error, std::errc::too_many_files_open)) << error.message();
  EXPECT_NE(words, "");
  if (fd >= 0) {
    turns(context);
    EXPECT_FALSE(readable(fd, 20ms)) << "it spins";
  }
  const int served = recorder.opens;
  for (Peer& peer : peers) peer.close();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == served; }));
  std::vector<Peer> later = connect_many(listener.address(), 1);
  EXPECT_TRUE(run_until(context, [&] { return recorder.opens == served + 1; }));
}

}  // namespace
}  // namespace onloop::test
