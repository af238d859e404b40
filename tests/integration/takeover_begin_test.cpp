// What a takeover needs at its beginning: a socket, a permitted user at the other end, and names. If a call is refused,
// the socket still belongs to the caller.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "takeover_pair.hpp"

namespace onloop::test {
namespace {

class TakeoverBegin : public CleanTest {
 protected:
  /// Expects that both calls refuse the socket with this error, and that the descriptor stays open.
  void expect_refused(int socket, const TakeoverOptions& options, std::errc code) {
    const auto done = [](const TakeoverResult&) { ADD_FAILURE() << "it was refused"; };
    const Thrown exporting = thrown_by([&] { return export_context(context_, socket, options, done), 0; });
    EXPECT_TRUE(is(exporting.code, code)) << exporting.words;
    const Thrown importing = thrown_by([&] { return import_context(context_, socket, options, done), 0; });
    EXPECT_TRUE(is(importing.code, code)) << importing.words;
    EXPECT_EQ(exporting.words.find('\n'), std::string::npos);
    EXPECT_EQ(exporting.words.rfind("hand over a context: ", 0), 0u) << exporting.words;
    EXPECT_EQ(importing.words.rfind("take over a context: ", 0), 0u) << importing.words;
    EXPECT_TRUE(socket < 0 || ::fcntl(socket, F_GETFD) >= 0) << "the descriptor was taken";
  }

  Traveller protocol_;
  Context context_{native()};
};

TEST_F(TakeoverBegin, NeedsASocket) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const Fd read_end(pipe[0]), write_end(pipe[1]);
  const Fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  expect_refused(read_end.get(), {}, std::errc::not_a_socket);
  expect_refused(file.get(), {}, std::errc::not_a_socket);
  expect_refused(-1, {}, std::errc::bad_file_descriptor);
}

TEST_F(TakeoverBegin, NeedsAUnixSocketThatIsConnected) {
  const auto [here, there] = connected_pair(Kind::tcp);
  expect_refused(here.get(), {}, std::errc::not_connected);
  const Fd unconnected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect_refused(unconnected.get(), {}, std::errc::not_connected);
}

// Frames would be cut at the end of a message.
TEST_F(TakeoverBegin, NeedsAStream) {
  for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()), 0);
    const Fd here(ends[0]), there(ends[1]);
    expect_refused(here.get(), {}, std::errc::wrong_protocol_type);
  }
}

TEST_F(TakeoverBegin, NeedsANameOfItsOwnForEachProtocol) {
  const auto [here, there] = connected_pair(Kind::unix_pair);
  Traveller other;
  for (const std::string& name : {std::string(), std::string(256, 'n')}) {
    TakeoverOptions options;
    options.protocols.push_back(member(name, protocol_));
    expect_refused(here.get(), options, std::errc::invalid_argument);
  }
  TakeoverOptions twice;
  twice.protocols.push_back(member("name", protocol_));
  twice.protocols.push_back(member("name", other));
  expect_refused(here.get(), twice, std::errc::invalid_argument);
}

TEST_F(TakeoverBegin, TakesANameOf255BytesWithAnyInIt) {
  Context next(native());
  auto [here, there] = connected_pair(Kind::unix_pair);
  const Line line = join(context_, protocol_);
  turns(context_);
  TakeoverOptions options;
  options.protocols.push_back(member(std::string(255, '\0'), protocol_));
  int done = 0;
  const auto expect_one = [&](const TakeoverResult& result) {
    ++done;
    EXPECT_FALSE(result.error) << result.reason;
    EXPECT_EQ(result.connections, 1u);
  };
  export_context(context_, here.release(), options, expect_one);
  import_context(next, there.release(), options, expect_one);
  for (int i = 0; i < 20; ++i) {
    turns(context_, 1);
    turns(next, 1);
  }
  EXPECT_EQ(done, 2);
}

TEST_F(TakeoverBegin, RefusesAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  constexpr uid_t kNobody = 65534;
  const RawListener listener("unix:@onloop-test-takeover-" + std::to_string(::getpid()));
  std::array<int, 2> prod{};
  ASSERT_EQ(::pipe2(prod.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(prod[1]);
    const bool became = ::setuid(kNobody) == 0;  // if this is not possible, the call is not refused
    const Peer held = Peer::connect_to(listener.address);
    char byte = 0;
    while (became && ::read(prod[0], &byte, 1) < 0) {
    }
    ::_exit(0);
  }
  {
    const Fd unused(prod[0]), hold(prod[1]);
    const Peer accepted = listener.accept();
    expect_refused(accepted.fd(), {}, std::errc::operation_not_permitted);
  }
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace onloop::test
