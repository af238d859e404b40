// The cost of a write: system calls and copies. The program replaces functions of the C library, for itself and for
// everything that is linked into it.
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "drive.hpp"
#include "replaced_new.hpp"

namespace {

int sends = 0;                       // send and sendmsg
std::vector<const void*> sent_from;  // the pieces of each sendmsg, while they are watched
bool watched = false;
thread_local std::size_t largest = 0;  // allocation since it was set to 0

void* allocate(std::size_t size) noexcept {
  largest = std::max(largest, size);
  return std::malloc(size ? size : 1);
}

}  // namespace

// NOLINTBEGIN: the C library's names
extern "C" ssize_t send(int fd, const void* data, size_t size, int flags) {
  ++sends;
  return ::syscall(SYS_sendto, fd, data, size, flags, nullptr, 0);
}
extern "C" ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  ++sends;
  for (std::size_t i = 0; watched && i < message->msg_iovlen; ++i) sent_from.push_back(message->msg_iov[i].iov_base);
  return ::syscall(SYS_sendmsg, fd, message, flags);
}
// NOLINTEND

namespace onloop::test {
namespace {

class WriteCalls : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(WriteCalls);

constexpr std::size_t kLarge = 8 * 1024 * 1024;  // more than the kernel buffers of both ends take
constexpr std::size_t kSmall = 64 * 1024;        // less than any allocation that would copy the rest of it

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Limits roomy() {
  Limits limits;
  limits.high_water = limits.max_queued;
  return limits;
}

TEST_P(WriteCalls, AVectorThatIsGivenAwayIsNotCopied) {
  Line line = join(context(), recorder_, roomy());
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  const std::string text = pattern(kLarge);
  std::vector<std::byte> data = bytes_of(text);
  const std::byte* const begin = data.data();
  sends = 0;
  largest = 0;
  EXPECT_EQ(line.connection.write(std::move(data)), Flow::go);
  EXPECT_EQ(sends, 1);
  EXPECT_LT(largest, kSmall) << "the rest was copied";
  const std::size_t queued = line.connection.queued_bytes();
  ASSERT_GT(queued, 0u);
  watched = true;
  ASSERT_TRUE(run_until(context(), [&] { return line.peer.read(), !sent_from.empty(); }));
  watched = false;
  EXPECT_EQ(sent_from.front(), begin + (kLarge - queued)) << "it is sent from where it was";
  sent_from.clear();
  ASSERT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.received().size() == kLarge; }));
  EXPECT_EQ(line.peer.received(), text);
}

TEST_P(WriteCalls, AVectorThatTheKernelTakesIsNotQueued) {
  Line line = join(context(), recorder_);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  sends = 0;
  EXPECT_EQ(line.connection.write(bytes_of("hello")), Flow::go);
  EXPECT_EQ(line.connection.write(std::vector<std::byte>{}), Flow::go);
  EXPECT_EQ(line.connection.queued_bytes(), 0u);
  ASSERT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.received() == "hello"; }));
}

TEST_P(WriteCalls, VectorsAndOthersKeepTheirOrder) {
  Line line = join(context(), recorder_, roomy());
  const std::string large = pattern(kLarge);
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    line.connection.write(bytes_of(large));
    line.connection.write("small");
    line.connection.write(bytes_of("given"));
    expected += large + "small" + "given";
  }
  ASSERT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.received().size() == expected.size(); }));
  EXPECT_EQ(line.peer.received(), expected);
}

TEST_P(WriteCalls, PiecesAreSentInOneCall) {
  Line line = join(context(), recorder_);
  ASSERT_TRUE(run_until(context(), [&] { return recorder_.opens == 1; }));
  const std::vector<std::byte> head = bytes_of("head ");
  const std::vector<std::byte> body = bytes_of("body ");
  const std::array<std::span<const std::byte>, 4> pieces{head, body, {}, head};
  sends = 0;
  largest = 0;
  EXPECT_EQ(line.connection.write(pieces), Flow::go);
  EXPECT_EQ(sends, 1);
  EXPECT_EQ(largest, 0u) << "nothing is allocated";
  EXPECT_EQ(line.connection.queued_bytes(), 0u);
  ASSERT_TRUE(run_until(context(), [&] { return line.peer.read(), line.peer.received().size() == 15; }));
  EXPECT_EQ(line.peer.received(), "head body head ");
}

TEST_P(WriteCalls, PiecesThatTheKernelRefusesAreQueuedInTheirOrder) {
  for (const bool corked : {false, true}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Limits limits = roomy();
    limits.high_water = limits.low_water = kLarge;
    Line line = join(context, recorder, limits);
    std::string expected;
    std::vector<std::vector<std::byte>> kept;
    for (std::size_t i = 0; i < 2000; ++i) {  // more than one call takes
      kept.push_back(bytes_of(pattern(kLarge / 1000 + i)));
      expected += pattern(kLarge / 1000 + i);
    }
    const std::vector<std::span<const std::byte>> pieces(kept.begin(), kept.end());
    {
      std::optional<Cork> cork;
      if (corked) cork.emplace(line.connection.cork());
      EXPECT_EQ(line.connection.write(pieces), Flow::wait);
    }
    kept.clear();
    ASSERT_TRUE(run_until(context, [&] { return line.peer.read(), line.peer.received().size() == expected.size(); }));
    EXPECT_EQ(line.peer.received(), expected);
    EXPECT_EQ(recorder.drains, 1);
  }
}

TEST_P(WriteCalls, TooLateTheyAreDiscardedAndSaySo) {
  Line line = join(context(), recorder_);
  line.connection.close();
  const std::vector<std::byte> data = bytes_of("late");
  const std::array<std::span<const std::byte>, 1> pieces{data};
  EXPECT_EQ(line.connection.write(pieces), Flow::closed);
  EXPECT_EQ(line.connection.write(bytes_of("late")), Flow::closed);
}

TEST_P(WriteCalls, BeyondMaxQueuedTheyAbort) {
  for (const bool in_pieces : {false, true}) {
    Recorder recorder;
    Context context{GetParam().make()};
    Limits limits;
    limits.low_water = limits.high_water = limits.max_queued = 1000;
    Line line = join(context, recorder, limits);
    const std::vector<std::byte> data(kLarge);
    const std::array<std::span<const std::byte>, 1> pieces{data};
    EXPECT_EQ(in_pieces ? line.connection.write(pieces) : line.connection.write(std::vector<std::byte>(data)),
              Flow::closed);
    ASSERT_TRUE(run_until(context, [&] { return recorder.closes == 1; }));
    EXPECT_TRUE(is(recorder.errors[0], std::errc::no_buffer_space)) << recorder.errors[0].message();
  }
}

}  // namespace
}  // namespace onloop::test
