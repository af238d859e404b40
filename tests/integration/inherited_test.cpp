// `fd:` addresses: sockets that the process was started with. Each test runs in a forked child, with an environment and
// descriptors of its own.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "drive.hpp"

namespace onloop::test {
namespace {

class Inherited : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Inherited);

constexpr int kFirst = 3;  // sd_listen_fds(3): the sockets are numbered from here

// Does what systemd does: puts `sockets` at descriptor 3 and the following numbers, and sets the environment variables.
void hand_over(std::vector<const RawListener*> sockets, const char* names, pid_t to) {
  std::vector<int> high;
  for (const RawListener* listener : sockets) high.push_back(::fcntl(listener->socket.get(), F_DUPFD, 100));
  int number = kFirst;
  for (const int fd : high) {
    ASSERT_EQ(::dup2(fd, number), number);
    ASSERT_EQ(::close(fd), 0);
    ++number;
  }
  ::setenv("LISTEN_FDS", std::to_string(sockets.size()).c_str(), 1);
  ::setenv("LISTEN_PID", std::to_string(to).c_str(), 1);
  if (names) ::setenv("LISTEN_FDNAMES", names, 1);
}

::testing::AssertionResult echoes(Context& context, const Address& address) {
  Peer client = Peer::connect_to(address);
  client.send("hello");
  return run_until(context, [&] { return client.read() && client.received() == "hello"; });
}

Thrown listen_fails(Context& context, Protocol& protocol, const std::string& address) {
  return thrown_by([&]() -> Listener& { return context.listen(address, protocol); });
}

TEST_P(Inherited, ADescriptorIsServedUnderTheAddressThatItIsBoundTo) {
  const RawListener raw("127.0.0.1:0");
  EXPECT_TRUE(in_child([&] {
    ASSERT_EQ(::dup2(raw.socket.get(), 77), 77);
    Echo echo;
    Context context{GetParam().make()};
    const Listener& listener = context.listen("fd:77", echo);
    EXPECT_EQ(listener.address(), raw.address) << listener.address().to_string();
    EXPECT_TRUE(echoes(context, raw.address));
  }));
}

TEST_P(Inherited, ADescriptorOfThisProcessIsTakenFromTheService) {
  const RawListener raw("127.0.0.1:0");
  EXPECT_TRUE(in_child([&] {
    hand_over({&raw}, nullptr, ::getpid());
    Echo echo;
    Context context{GetParam().make()};
    context.listen("fd:3", echo);
    EXPECT_TRUE(echoes(context, raw.address));
  }));
}

TEST_P(Inherited, ADescriptorThatWasMeantForAnotherProcessIsRefusedInWords) {
  const RawListener raw("127.0.0.1:0");
  EXPECT_TRUE(in_child([&] {
    hand_over({&raw}, "web", ::getppid());
    Echo echo;
    Context context{GetParam().make()};
    for (const char* address : {"fd:3", "fd:web"}) {
      const Thrown thrown = listen_fails(context, echo, address);
      EXPECT_TRUE(thrown.code) << address << " was taken";
      EXPECT_NE(thrown.words.find("LISTEN_PID"), std::string::npos) << thrown.words;
    }
  }));
}

TEST_P(Inherited, ANameStandsForEachSocketThatBearsIt) {
  const RawListener first("127.0.0.1:0");
  const RawListener second("127.0.0.1:0");
  const RawListener third("[::1]:0");
  EXPECT_TRUE(in_child([&] {
    hand_over({&first, &second, &third}, "web:admin:web", ::getpid());
    Echo echo;
    Context context{GetParam().make()};
    const Listener& listener = context.listen("fd:web", echo);
    ASSERT_EQ(listener.addresses().size(), 2u);
    EXPECT_EQ(listener.addresses()[0], first.address);
    EXPECT_EQ(listener.addresses()[1], third.address);
    EXPECT_TRUE(echoes(context, first.address));
    EXPECT_TRUE(echoes(context, third.address));
    EXPECT_EQ(context.listen("fd:admin", echo).address(), second.address);
    EXPECT_TRUE(echoes(context, second.address));
  }));
}

TEST_P(Inherited, ANameThatNoSocketBearsIsRefusedInWords) {
  const RawListener raw("127.0.0.1:0");
  EXPECT_TRUE(in_child([&] {
    Echo echo;
    Context context{GetParam().make()};
    const Thrown none = listen_fails(context, echo, "fd:web");
    EXPECT_TRUE(none.code) << "nothing was handed over";
    EXPECT_NE(none.words.find("fd:web"), std::string::npos) << none.words;
    hand_over({&raw}, "admin", ::getpid());
    const Thrown other = listen_fails(context, echo, "fd:web");
    EXPECT_TRUE(other.code) << "only admin was handed over";
    EXPECT_NE(other.words.find("fd:web"), std::string::npos) << other.words;
  }));
}

// sd_listen_fds(3) refuses these numbers, too. It accepts the last number of the test. A loop up to that number would
// take a long time.
TEST_P(Inherited, ANumberOfSocketsThatIsOutOfRangeIsRefusedAtOnce) {
  const RawListener raw("127.0.0.1:0");
  EXPECT_TRUE(in_child([&] {
    Echo echo;
    Context context{GetParam().make()};
    hand_over({&raw}, "admin", ::getpid());
    for (const char* number :
         {"2147483648", "2147483645", "9223372036854775807", "99999999999999999999", "-1", "0", "1x", " 1"}) {
      ::setenv("LISTEN_FDS", number, 1);
      for (const char* address : {"fd:web", "fd:admin", "fd:3"}) {
        const Thrown thrown = listen_fails(context, echo, address);
        EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << number << ' ' << address << ' ' << thrown.words;
        EXPECT_NE(thrown.words.find("LISTEN_FDS"), std::string::npos) << thrown.words;
      }
    }
    ::setenv("LISTEN_FDS", "2147483644", 1);
    EXPECT_TRUE(is(listen_fails(context, echo, "fd:web").code, std::errc::no_such_file_or_directory));
  }));
}

TEST_P(Inherited, ADescriptorThatIsNotOpenIsRefusedInWords) {
  const Thrown thrown = listen_fails(context(), echo_, "fd:9999");
  EXPECT_TRUE(is(thrown.code, std::errc::bad_file_descriptor)) << thrown.words;
  EXPECT_NE(thrown.words.find("fd:9999"), std::string::npos) << thrown.words;
}

TEST_P(Inherited, ADescriptorThatDoesNotListenIsRefusedAndStaysOpen) {
  const auto [connected, other] = connected_pair(Kind::tcp);
  const Fd datagram(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Echo echo;
  {
    Context context{GetParam().make()};
    for (const int fd : {connected.get(), datagram.get(), file.get()}) {
      const std::string address = "fd:" + std::to_string(fd);
      const Thrown thrown = listen_fails(context, echo, address);
      EXPECT_TRUE(thrown.code) << "was taken";
      EXPECT_NE(thrown.words.find(address), std::string::npos) << thrown.words;
      EXPECT_NE(thrown.words.find("listening"), std::string::npos) << thrown.words;
    }
  }
  for (const int fd : {connected.get(), datagram.get(), file.get()}) EXPECT_NE(::fcntl(fd, F_GETFD), -1);
}

TEST_P(Inherited, TheFileOfAnInheritedUnixSocketIsNotUnlinked) {
  const TemporaryDirectory directory;
  const RawListener raw("unix:" + directory.file("socket"));
  EXPECT_TRUE(in_child([&] {
    ASSERT_EQ(::dup2(raw.socket.get(), 77), 77);
    Echo echo;
    Context context{GetParam().make()};
    const Listener& listener = context.listen("fd:77", echo);
    EXPECT_EQ(listener.address(), raw.address);
    EXPECT_TRUE(echoes(context, raw.address));
  }));
  EXPECT_NO_THROW(Peer::connect_to(raw.address)) << "who made the socket still owns its file";
}

}  // namespace
}  // namespace onloop::test
