// The file of a listening UNIX socket, while other processes change the directory. This is a program of its own,
// because it replaces bind(2). The replacement does what another process could do between two system calls.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "drive.hpp"

namespace onloop::test {
namespace {

thread_local std::function<void()> before_bind;
thread_local std::function<void()> after_bind;  // runs after a bind() that has succeeded

void call_once(std::function<void()>& what) {
  if (const auto call = std::exchange(what, nullptr)) call();
}

}  // namespace
}  // namespace onloop::test

// Replaces the function of libc, also for the library that is linked into this program.
extern "C" int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
  using namespace onloop::test;
  call_once(before_bind);
  const auto result = static_cast<int>(::syscall(SYS_bind, fd, address, length));
  if (result == 0) call_once(after_bind);
  return result;
}

namespace onloop::test {
namespace {

class UnixFile : public LoopTest {
 protected:
  void TearDown() override { before_bind = after_bind = nullptr; }
};
ONLOOP_ON_ALL_LOOPS(UnixFile);

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

void leave_stale_socket(const std::string& path) {
  const RawListener listener("unix:" + path);
}

ListenOptions replacing() {
  ListenOptions options;
  options.replace_stale = true;
  return options;
}

std::error_code listen_error(Context& context, const std::string& path, Protocol& protocol) {
  return thrown_by([&]() -> Listener& { return context.listen("unix:" + path, protocol, replacing()); }).code;
}

// A socket that is bound to `path` and does not listen.
Fd bound_to(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto size = static_cast<socklen_t>(sizeof address);
  EXPECT_EQ(::syscall(SYS_bind, socket.get(), &address, size), 0);
  return socket;
}

// Between bind and listen a connect is refused, as if nobody had the socket any more.
TEST_P(UnixFile, ASocketThatIsBoundAndDoesNotListenYetIsNotReplaced) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  const Fd socket = bound_to(path);
  Echo echo;
  Context context{GetParam().make()};
  EXPECT_TRUE(is(listen_error(context, path, echo), std::errc::address_in_use));
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  EXPECT_NO_THROW(Peer::connect_to(Address::parse("unix:" + path)));
}

// A probe that connects would be accepted as a client.
TEST_P(UnixFile, AServerWhoseSocketIsNotReplacedSeesNoClient) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Recorder recorder;
  Context server{GetParam().make()};
  server.listen("unix:" + path, recorder);
  Echo echo;
  Context context{GetParam().make()};
  EXPECT_TRUE(is(listen_error(context, path, echo), std::errc::address_in_use));
  turns(server);
  EXPECT_EQ(server.statistics().accepted, 0u);
}

// The second server begins when the first one has found that the socket is stale, and has unlinked it or is about to
// unlink it.
TEST_P(UnixFile, OfTwoThatReplaceAStaleSocketAtOnceOneListens) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  leave_stale_socket(path);
  Echo first;
  Echo second;
  Context one{GetParam().make()};
  Context other{GetParam().make()};
  std::error_code others_error;
  before_bind = [&] {  // finds the stale file
    before_bind = [&] {
      leave_stale_socket(path);  // as the other one would have found it before it was unlinked
      others_error = listen_error(other, path, second);
      ::unlink(path.c_str());
    };
  };
  EXPECT_FALSE(listen_error(one, path, first));
  EXPECT_TRUE(is(others_error, std::errc::device_or_resource_busy)) << others_error.message();
  EXPECT_FALSE(exists(path + ".onloop-replacing"));
}

constexpr int kServers = 8;
constexpr int kRounds = 50;

// In each of many rounds, the parent leaves a stale socket, and all children replace it at the same time. Pipes connect
// the parent and its children. Each child reports whether it listens, and keeps its listener until the parent has
// connected.
TEST_P(UnixFile, OfManyProcessesThatReplaceOneStaleSocketOneListensAndClientsReachIt) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  struct Child {
    pid_t pid;
    Fd commands;
    Fd reports;
  };
  std::vector<Child> children;
  for (int i = 0; i < kServers; ++i) {
    int commands[2];
    int reports[2];
    ASSERT_EQ(::pipe2(commands, O_CLOEXEC), 0);
    ASSERT_EQ(::pipe2(reports, O_CLOEXEC), 0);
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      children.clear();
      ::close(commands[1]);
      Echo echo;
      auto context = std::make_unique<Context>(GetParam().make());
      for (char command = 0; ::read(commands[0], &command, 1) == 1;) {
        char report = 'd';
        if (command == 'l') {
          try {
            context->listen("unix:" + path, echo, replacing());
            report = 'l';
          } catch (const std::system_error& error) {
            const bool right =
                error.code() == std::errc::device_or_resource_busy || error.code() == std::errc::address_in_use;
            report = right ? 'r' : 'x';
          }
        } else if (command == 's') {
          turns(*context);
          report = context->statistics().accepted > 0 ? 'a' : 'n';
        } else {
          context = std::make_unique<Context>(GetParam().make());
        }
        if (::write(reports[1], &report, 1) != 1) break;
      }
      ::_exit(0);
    }
    ::close(commands[0]);
    ::close(reports[1]);
    children.push_back({pid, Fd(commands[1]), Fd(reports[0])});
  }
  const auto all = [&](char command) {
    std::string reports;
    for (const Child& child : children) EXPECT_EQ(::write(child.commands.get(), &command, 1), 1);
    for (const Child& child : children) {
      char report = '?';
      EXPECT_EQ(::read(child.reports.get(), &report, 1), 1);
      reports += report;
    }
    return reports;
  };
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    leave_stale_socket(path);
    const std::string listen = all('l');
    EXPECT_EQ(std::count(listen.begin(), listen.end(), 'l'), 1) << listen;
    EXPECT_EQ(std::count(listen.begin(), listen.end(), 'x'), 0) << listen;
    if (HasFailure()) break;
    const Peer client = Peer::connect_to(Address::parse("unix:" + path));
    EXPECT_EQ(all('s').find('a'), listen.find('l')) << "another one than that which listens has the client";
    all('d');
    EXPECT_FALSE(exists(path));
    EXPECT_FALSE(exists(path + ".onloop-replacing"));
  }
  for (Child& child : children) {
    child.commands.reset();
    EXPECT_EQ(::waitpid(child.pid, nullptr, 0), child.pid);
  }
}

// The lock file of a process that was killed is not locked by anybody.
TEST_P(UnixFile, ALockThatNobodyHoldsAnyMoreDoesNotMatter) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  leave_stale_socket(path);
  const std::string lock = path + ".onloop-replacing";
  Fd holder(::open(lock.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::flock(holder.get(), LOCK_EX | LOCK_NB), 0);
  Echo echo;
  Context context{GetParam().make()};
  const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("unix:" + path, echo, replacing()); });
  EXPECT_TRUE(is(thrown.code, std::errc::device_or_resource_busy)) << thrown.words;
  EXPECT_NE(thrown.words.find("listen on unix:" + path + ": another process is replacing"), std::string::npos)
      << thrown.words;
  EXPECT_TRUE(exists(lock)) << "it is another one's";
  holder.reset();
  EXPECT_FALSE(listen_error(context, path, echo));
  EXPECT_FALSE(exists(lock));
}

// A chmod by path would follow the link. The test also uses a umask that removes bits, because without one there is no
// mode to change.
TEST_P(UnixFile, ASymbolicLinkThatIsPutInThePlaceOfTheSocketIsNotFollowed) {
  for (const mode_t mask : {mode_t{0}, mode_t{0777}}) {
    const TemporaryDirectory directory;
    const std::string path = directory.file("socket");
    const std::string victim = directory.file("victim");
    ASSERT_GE(Fd(::open(victim.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0640)).get(), 0);
    ASSERT_EQ(::chmod(victim.c_str(), 0640), 0);
    Echo echo;
    Context context{GetParam().make()};
    after_bind = [&] {
      ASSERT_EQ(::unlink(path.c_str()), 0);
      ASSERT_EQ(::symlink(victim.c_str(), path.c_str()), 0);
    };
    ListenOptions options;
    options.unix_mode = 0666;
    const mode_t before = ::umask(mask);
    const Thrown thrown = thrown_by([&]() -> Listener& { return context.listen("unix:" + path, echo, options); });
    ::umask(before);
    EXPECT_TRUE(is(thrown.code, std::errc::file_exists)) << thrown.words;
    EXPECT_NE(thrown.words.find("somebody has put another file at the path"), std::string::npos) << thrown.words;
    EXPECT_EQ(mode_of(victim), mode_t{0640});
    EXPECT_TRUE(exists(path)) << "it is not ours";
  }
}

TEST_P(UnixFile, AHardLinkThatIsPutInThePlaceOfTheSocketKeepsItsPermissions) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  const RawListener victim("unix:" + directory.file("victim"));
  ASSERT_EQ(::chmod(directory.file("victim").c_str(), 0640), 0);
  Echo echo;
  Context context{GetParam().make()};
  after_bind = [&] {
    ASSERT_EQ(::unlink(path.c_str()), 0);
    ASSERT_EQ(::link(directory.file("victim").c_str(), path.c_str()), 0);
  };
  EXPECT_TRUE(is(listen_error(context, path, echo), std::errc::file_exists));
  EXPECT_EQ(mode_of(directory.file("victim")), mode_t{0640});
}

TEST_P(UnixFile, ASocketWhoseFileGoesBeforeItListensIsAnError) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("socket");
  Echo echo;
  Context context{GetParam().make()};
  after_bind = [&] { ASSERT_EQ(::unlink(path.c_str()), 0); };
  EXPECT_TRUE(is(listen_error(context, path, echo), std::errc::no_such_file_or_directory));
}

}  // namespace
}  // namespace onloop::test
