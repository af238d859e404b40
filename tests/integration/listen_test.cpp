// Listening on each kind of address for which onloop makes the socket, and the messages of the errors.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Listen : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Listen);

// True if a client of `address` gets its bytes back.
::testing::AssertionResult echoes(Context& context, const Address& address) {
  Peer client = Peer::connect_to(address);
  client.send("hello");
  return run_until(context, [&] { return client.read() && client.received() == "hello"; });
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

// A socket's file on which nobody listens.
void leave_stale_socket(const std::string& path) {
  const RawListener listener("unix:" + path);
}

TEST_P(Listen, Ipv4ServesClientsOnThePortThatItReports) {
  const Listener& listener = context().listen("127.0.0.1:0", echo_);
  EXPECT_EQ(listener.address().family(), Address::Family::ipv4);
  ASSERT_NE(listener.address().port(), 0);
  EXPECT_TRUE(echoes(context(), listener.address()));
}

TEST_P(Listen, Ipv6ServesClientsOnThePortThatItReports) {
  const Listener& listener = context().listen("[::1]:0", echo_);
  EXPECT_EQ(listener.address().family(), Address::Family::ipv6);
  ASSERT_NE(listener.address().port(), 0);
  EXPECT_TRUE(echoes(context(), listener.address()));
}

TEST_P(Listen, LocalhostIsTwoSocketsWithOnePort) {
  const Listener& listener = context().listen("localhost:0", echo_);
  const auto addresses = listener.addresses();
  ASSERT_EQ(addresses.size(), 2u);
  EXPECT_EQ(addresses[0], listener.address());
  EXPECT_NE(addresses[0].family(), addresses[1].family());
  EXPECT_NE(addresses[0].port(), 0);
  EXPECT_EQ(addresses[0].port(), addresses[1].port());
  for (const Address& address : addresses) EXPECT_TRUE(echoes(context(), address)) << address.to_string();
}

// The open descriptors show that no socket is held. Whether the port of the other family is free cannot be tested,
// because another process may take it.
TEST_P(Listen, LocalhostWithOneHalfInUseIsRefusedAndHoldsNeither) {
  const RawListener taken("127.0.0.1:0");
  const std::string port = std::to_string(taken.address.port());
  Echo echo;
  Context context{GetParam().make()};
  context.listen("127.0.0.1:0", echo);  // the context now has what it keeps after its first listener
  const ProcessState before = ProcessState::take();
  const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("localhost:" + port, echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_EQ(before.difference_to(ProcessState::take()), "");
}

TEST_P(Listen, AClientThatCameBeforeTheFirstTurnIsServed) {
  const Listener& listener = context().listen("127.0.0.1:0", echo_);
  Peer client = Peer::connect_to(listener.address());
  client.send("early");
  EXPECT_TRUE(run_until(context(), [&] { return client.read() && client.received() == "early"; }));
}

TEST_P(Listen, AnAddressInUseIsRefusedInWords) {
  const RawListener taken("127.0.0.1:0");
  const std::string address = taken.address.to_string();
  Echo echo;
  Context context{GetParam().make()};
  const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen(address, echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use));
  EXPECT_NE(thrown.words.find("listen on " + address), std::string::npos) << thrown.words;
  EXPECT_NE(thrown.words.find("Address already in use"), std::string::npos) << thrown.words;
  EXPECT_TRUE(echoes(context, context.listen("127.0.0.1:0", echo).address())) << "the context still works";
}

TEST_P(Listen, TheAddressOfAClosedListenerCanBeUsedAgain) {
  Listener& first = context().listen("127.0.0.1:0", echo_);
  const std::string address = first.address().to_string();
  EXPECT_TRUE(echoes(context(), first.address()));
  first.close();
  const Listener& second = context().listen(address, echo_);
  EXPECT_TRUE(echoes(context(), second.address()));
}

TEST_P(Listen, ReusePortLetsTwoListenersShareOne) {
  ListenOptions shared;
  shared.reuse_port = true;
  const std::string address = context().listen("127.0.0.1:0", echo_, shared).address().to_string();
  EXPECT_NO_THROW(context().listen(address, echo_, shared));
  const Thrown thrown = thrown_by([&]() -> Listener& { return context().listen(address, echo_); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << "without the option it is refused";
}

TEST_P(Listen, LimitsOutOfOrderAreRefused) {
  Echo echo;
  Context context{GetParam().make()};
  ListenOptions low_above_high;
  low_above_high.limits.low_water = low_above_high.limits.high_water + 1;
  ListenOptions high_above_max;
  high_above_max.limits.max_queued = high_above_max.limits.high_water - 1;
  for (const ListenOptions& options : {low_above_high, high_above_max}) {
    const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("127.0.0.1:0", echo, options); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
  }
}

TEST_P(Listen, AMalformedAddressIsRefusedInWordsThatQuoteIt) {
  Echo echo;
  Context context{GetParam().make()};
  for (const std::string text :
       {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x", "300.0.0.1:80", "::1:80",
        "[::1]", "[::1:80", "example.org:80", "unix:", "fd:", "8080", "127.0.0.1:80 "}) {
    const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen(text, echo); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << '"' << text << "\": " << thrown.words;
    EXPECT_NE(thrown.words.find(text), std::string::npos) << thrown.words;
  }
}

TEST_P(Listen, AUnixPathIsServedAndUnlinkedWhenTheListenerCloses) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Echo echo;
  Context context{GetParam().make()};
  Listener& listener = context.listen("unix:" + path, echo);
  EXPECT_EQ(listener.address().to_string(), "unix:" + path);
  EXPECT_TRUE(echoes(context, listener.address()));
  listener.close();
  EXPECT_FALSE(exists(path));
}

TEST_P(Listen, AUnixPathIsUnlinkedWithTheContext) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Echo echo;
  {
    Context context{GetParam().make()};
    context.listen("unix:" + path, echo);
    ASSERT_TRUE(exists(path));
  }
  EXPECT_FALSE(exists(path));
}

TEST_P(Listen, AUnixPathIsUnlinkedWithTheProtocol) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Context context{GetParam().make()};
  {
    Echo echo;
    context.listen("unix:" + path, echo);
    ASSERT_TRUE(exists(path));
  }
  EXPECT_FALSE(exists(path));
}

TEST_P(Listen, AUnixPathThatSomebodyElseHasTakenSinceStays) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Echo echo;
  Context context{GetParam().make()};
  Listener& listener = context.listen("unix:" + path, echo);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  const RawListener successor("unix:" + path);
  listener.close();
  EXPECT_TRUE(exists(path));
  EXPECT_NO_THROW(Peer::connect_to(successor.address));
}

TEST_P(Listen, AUnixPathGetsTheModeThatWasAskedForWhateverTheUmask) {
  const TemporaryDirectory directory;
  Echo echo;
  Context context{GetParam().make()};
  int number = 0;
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{0777}}) {
    for (const unsigned mode : {0600u, 0660u, 0666u}) {
      const std::string path = directory.file(std::to_string(number++));
      ListenOptions options;
      options.unix_mode = mode;
      const mode_t before = ::umask(mask);
      context.listen("unix:" + path, echo, options);
      EXPECT_EQ(::umask(before), mask) << "the umask is the application's";
      EXPECT_EQ(mode_of(path), mode) << "under umask " << mask;
    }
  }
  const std::string by_default = directory.file("default");
  context.listen("unix:" + by_default, echo);
  EXPECT_EQ(mode_of(by_default), mode_t{0600});
}

// A chmod after bind would leave a moment in which anybody could connect; inotify would report it as a change of the
// attributes of a file that is there already.
TEST_P(Listen, AUnixPathIsNeverMoreOpenThanItsMode) {
  const TemporaryDirectory directory;
  const Fd events(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_GE(::inotify_add_watch(events.get(), directory.path().c_str(), IN_CREATE | IN_ATTRIB | IN_MOVED_TO), 0);
  Echo echo;
  Context context{GetParam().make()};
  const mode_t before = ::umask(0);
  context.listen("unix:" + directory.file("socket"), echo);
  ::umask(before);
  char buffer[4096];
  const ssize_t size = ::read(events.get(), buffer, sizeof buffer);
  ASSERT_GT(size, 0);
  bool came = false;
  for (ssize_t at = 0; at < size;) {
    inotify_event event;
    std::memcpy(&event, buffer + at, sizeof event);
    const bool ours = event.len > 0 && std::strcmp(buffer + at + sizeof event, "socket") == 0;
    came = came || (ours && (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0);
    EXPECT_FALSE(ours && (event.mask & IN_ATTRIB) != 0) << "its mode was changed after it came";
    at += static_cast<ssize_t>(sizeof event + event.len);
  }
  EXPECT_TRUE(came);
}

TEST_P(Listen, AStaleUnixSocketIsRefusedUnlessItsReplacementIsAskedFor) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  leave_stale_socket(path);
  Echo echo;
  Context context{GetParam().make()};
  const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("unix:" + path, echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_TRUE(exists(path));
  ListenOptions replace;
  replace.replace_stale = true;
  EXPECT_TRUE(echoes(context, context.listen("unix:" + path, echo, replace).address()));
}

TEST_P(Listen, ALiveUnixSocketIsNeverReplaced) {
  const TemporaryDirectory directory;
  const RawListener live("unix:" + directory.file("socket"));
  Echo echo;
  Context context{GetParam().make()};
  ListenOptions replace;
  replace.replace_stale = true;
  const Thrown thrown =
      thrown_by([&]() -> Listener& { return context.listen(live.address.to_string(), echo, replace); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_NO_THROW(Peer::connect_to(live.address)) << "clients still reach it";
}

TEST_P(Listen, ALiveUnixSocketWhoseBacklogIsFullIsNeverReplaced) {
  const TemporaryDirectory directory;
  const RawListener live("unix:" + directory.file("socket"), 0);
  const Peer waiting = Peer::connect_to(live.address);
  Echo echo;
  Context context{GetParam().make()};
  ListenOptions replace;
  replace.replace_stale = true;
  const Thrown thrown =
      thrown_by([&]() -> Listener& { return context.listen(live.address.to_string(), echo, replace); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_TRUE(exists(directory.file("socket")));
}

TEST_P(Listen, AFileThatIsNoSocketIsNeverReplaced) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("precious");
  std::ofstream(path) << "data";
  Echo echo;
  Context context{GetParam().make()};
  ListenOptions replace;
  replace.replace_stale = true;
  const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("unix:" + path, echo, replace); });
  EXPECT_TRUE(thrown.code) << "it was taken";
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "data");
}

TEST_P(Listen, AUnixPathThatDoesNotFitIsRefused) {
  const std::string path = "/tmp/" + std::string(103, 'x');  // one byte more than the longest
  const Thrown thrown = thrown_by([&]() -> Listener& { return context().listen("unix:" + path, echo_); });
  EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
}

TEST_P(Listen, ADirectoryWithoutPermissionIsRefusedInWords) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::chmod(directory.path().c_str(), 0500), 0);
  const std::string address = "unix:" + directory.file("socket");
  EXPECT_TRUE(in_child([&] {
    if (::geteuid() == 0) {
      ASSERT_EQ(::setuid(65534), 0);  // root may write anywhere
    }
    Echo echo;
    Context context{GetParam().make()};
    const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen(address, echo); });
    EXPECT_TRUE(is(thrown.code, std::errc::permission_denied));
    EXPECT_EQ(thrown.words, "listen on " + address + ": Permission denied");
  }));
}

TEST_P(Listen, AnAbstractNameIsServedAndLeavesNoFile) {
  const std::string name = "onloop-test-" + std::to_string(::getpid());
  const Listener& listener = context().listen("unix:@" + name, echo_);
  EXPECT_EQ(listener.address().family(), Address::Family::unix_abstract);
  EXPECT_EQ(listener.address().to_string(), "unix:@" + name);
  EXPECT_TRUE(echoes(context(), listener.address()));
  EXPECT_FALSE(exists(name) || exists("@" + name));
  const Thrown thrown = thrown_by([&]() -> Listener& { return context().listen("unix:@" + name, echo_); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
}

TEST_P(Listen, TakesAnAddressThatIsParsed) {
  const Listener& listener = context().listen(Address::parse("127.0.0.1:0"), recorder_);
  const Peer client = Peer::connect_to(listener.address());
  EXPECT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  const Thrown thrown = thrown_by([&]() -> Listener& { return context().listen(Address(), recorder_); });
  EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
}

TEST_P(Listen, SeveralAddressesAreServedByOneListener) {
  const TemporaryDirectory directory;
  Echo echo;
  Context context{GetParam().make()};
  const Address addresses[] = {Address::parse("127.0.0.1:0"), Address::parse("unix:" + directory.file("socket")),
                               Address::parse("localhost:0")};
  const Listener& listener = context.listen(addresses, echo);
  ASSERT_EQ(listener.addresses().size(), 4u);
  for (const Address& address : listener.addresses()) EXPECT_TRUE(echoes(context, address)) << address.to_string();
  EXPECT_EQ(listener.statistics().accepted, 4u);
}

TEST_P(Listen, OneOfSeveralAddressesInUseLeavesNoneOfThem) {
  const TemporaryDirectory directory;
  const RawListener taken("127.0.0.1:0");
  Echo echo;
  Context context{GetParam().make()};
  const Address addresses[] = {Address::parse("unix:" + directory.file("socket")), taken.address};
  const Thrown thrown = thrown_by([&]() -> auto& { return context.listen(addresses, echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_FALSE(exists(directory.file("socket")));
}

TEST_P(Listen, OneOfSeveralAddressesInUseLeavesAnInheritedSocketOpen) {
  const RawListener taken("127.0.0.1:0");
  const RawListener inherited("127.0.0.1:0");
  const Fd passed(::fcntl(inherited.socket.get(), F_DUPFD_CLOEXEC, 3));
  const Address by_number = Address::from_name(Address::Family::inherited, std::to_string(passed.get()));
  Echo echo;
  Context context{GetParam().make()};
  const Address addresses[] = {by_number, taken.address};
  const Thrown thrown = thrown_by([&]() -> auto& { return context.listen(addresses, echo); });
  EXPECT_TRUE(is(thrown.code, std::errc::address_in_use)) << thrown.words;
  EXPECT_GE(::fcntl(passed.get(), F_GETFD), 0) << "it was closed";
}

TEST_P(Listen, NoAddressAndTwoPathsAreRefused) {
  Echo echo;
  Context context{GetParam().make()};
  const auto refused = [&](std::span<const Address> addresses) {
    return is(thrown_by([&]() -> auto& { return context.listen(addresses, echo); }).code, std::errc::invalid_argument);
  };
  EXPECT_TRUE(refused({}));
  const Address paths[] = {Address::parse("unix:/nonexistent/a"), Address::parse("unix:/nonexistent/b")};
  EXPECT_TRUE(refused(paths));
}

TEST_P(Listen, CountsWhatItsListenerHasDone) {
  Recorder recorder;
  Recorder choosy;
  choosy.when_accept = [&](const Address&) { return choosy.accepts % 2 == 1; };
  Context context{GetParam().make()};
  const Listener& busy = context.listen("127.0.0.1:0", recorder);
  const Listener& other = context.listen("127.0.0.1:0", choosy);
  std::vector<Peer> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(Peer::connect_to(busy.address()));
    clients.push_back(Peer::connect_to(other.address()));
  }
  ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 4 && choosy.accepts == 4; }));
  EXPECT_EQ(busy.statistics().accepted, 4u);
  EXPECT_EQ(busy.statistics().turned_away, 0u);
  EXPECT_EQ(other.statistics().accepted, 2u);
  EXPECT_EQ(other.statistics().turned_away, 2u);
  EXPECT_EQ(other.statistics().connections, 2u);
  clients.clear();
  ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 4 && choosy.closes == 2; }));
  EXPECT_EQ(busy.statistics().accepted, 4u);
  EXPECT_EQ(busy.statistics().connections, 0u);
}

TEST_P(Listen, AWeakReferenceIsNullOnceTheListenerIsClosed) {
  auto protocol = std::make_unique<Recorder>();
  Recorder recorder;
  WeakListener closed, severed, beyond;
  EXPECT_EQ(closed.get(), nullptr);
  {
    Context context{GetParam().make()};
    Listener& listener = context.listen("127.0.0.1:0", recorder);
    closed = listener.ref();
    const WeakListener copy = closed;
    EXPECT_EQ(closed.get(), &listener);
    EXPECT_EQ(copy->address(), listener.address());
    const Peer client = Peer::connect_to(listener.address());
    ASSERT_TRUE(run_until(context, [&] { return recorder.opens == 1; }));
    listener.close();
    EXPECT_FALSE(closed) << "although its connection is there";
    EXPECT_FALSE(copy);
    severed = context.listen("127.0.0.1:0", *protocol).ref();
    EXPECT_TRUE(severed);
    protocol.reset();
    EXPECT_FALSE(severed);
    beyond = WeakListener(context.listen("127.0.0.1:0", recorder));
    EXPECT_TRUE(beyond);
  }
  EXPECT_FALSE(beyond);
  EXPECT_FALSE(closed);
}

}  // namespace
}  // namespace onloop::test
