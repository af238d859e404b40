// Malformed records. Each record has one fault.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <limits>

#include "takeover_session.hpp"

namespace onloop::test {
namespace {

class TakeoverRecords : public Importing {
 protected:
  /// Expects that a session is refused after a change in its records.
  void refused(const std::string& words, const std::function<void(Session&)>& change) {
    Session session;
    change(session);
    session.build();
    expect_refused(import(session), words);
  }
  /// Expects that a session is refused after a change in its frames or descriptors.
  void refused_as_sent(const std::string& words, const std::function<void(Session&)>& change) {
    Session session;
    change(session);
    expect_refused(import(session), words);
  }
};

enum : std::size_t { kHello, kListener, kFirst, kSecond, kData, kMoreData, kThird, kEnd };

TEST_F(TakeoverRecords, AreTakenAsTheyAre) {
  const Session session;
  for (int i = 0; i < 2; ++i) {
    const TakeoverResult result = import(session);
    EXPECT_FALSE(result.error) << result.reason;
    EXPECT_EQ(result.connections, 3u);
    EXPECT_EQ(result.listeners, 1u);
  }
  ASSERT_EQ(protocol_.states.size(), 6u);
  EXPECT_EQ(protocol_.states[0], std::string(20, 's'));
}

// These bytes are written by hand. Whoever changes them must also change the version.
TEST_F(TakeoverRecords, BeginWithTheseBytes) {
  const std::string magic = ">>poolno";
  const auto word = [](std::uint32_t value) { return std::string(reinterpret_cast<const char*>(&value), 4); };
  const std::string time(8, '\0');
  const auto hello = [&](const std::string& bytes) {
    Session session;
    session.frames[kHello] = frame(Frame::hello, bytes);
    return import(session);
  };
  EXPECT_FALSE(hello(magic + word(2) + time).error);
  expect_refused(hello(magic + word(0) + time), "version 0");
  expect_refused(hello(magic + word(1) + time), "version 1");
  expect_refused(hello("onloop>>" + word(2) + time), "not the beginning of a takeover");
  expect_refused(hello(std::string(20, '\0')), "not the beginning of a takeover");
  expect_refused(hello(magic + word(2) + time + "!"), "longer than it should be");
}

TEST_F(TakeoverRecords, CutShortOrTooLong) {
  const Session whole;
  for (const std::size_t which : {kHello, kListener, kFirst, kSecond, kThird, kEnd}) {
    const std::string body = whole.frames[which].substr(8);
    std::uint32_t type = 0;
    std::memcpy(&type, whole.frames[which].data(), sizeof type);
    for (std::size_t size = 0; size < body.size(); ++size) {
      refused_as_sent("", [&](Session& session) { session.frames[which] = frame(type, body.substr(0, size)); });
      if (HasFailure()) FAIL() << "record " << which << " of " << size << " bytes";
    }
    refused_as_sent("longer than it should be",
                    [&](Session& session) { session.frames[which] = frame(type, body + '\0'); });
  }
}

TEST_F(TakeoverRecords, TheSessionEndsAtAnyByte) {
  const Session session;
  const std::string bytes = session.bytes();
  for (std::size_t size = 1; size < bytes.size(); size += 3) {
    const TakeoverResult result = import(bytes.substr(0, size), session.fds);
    ASSERT_TRUE(is(result.error, std::errc::connection_reset)) << size << ": " << result.reason;
  }
}

TEST_F(TakeoverRecords, FramesOfUnknownTypesOrUnseemlyLength) {
  for (const std::uint32_t type : {0u, 9u, 256u, UINT32_MAX}) {
    refused_as_sent("something else than a takeover", [&](Session& session) { session.frames[kEnd] = frame(type); });
    refused_as_sent("something else than a takeover", [&](Session& session) { session.frames[kHello] = frame(type); });
  }
  for (const std::uint32_t length : {64u * 1024 + 1, 0x7fffffffu, UINT32_MAX}) {
    refused_as_sent("at most 65536", [&](Session& session) {
      session.frames[kData] = frame(Frame::data, "x");
      std::memcpy(session.frames[kData].data() + 4, &length, sizeof length);
    });
  }
}

TEST_F(TakeoverRecords, OutOfOrder) {
  const std::string words = "in a wrong order";
  refused_as_sent(words, [](Session& s) { s.frames.erase(s.frames.begin()); });
  refused_as_sent(words, [](Session& s) { s.frames.insert(s.frames.begin() + kFirst, s.frames[kHello]); });
  refused_as_sent(words, [](Session& s) { s.frames.insert(s.frames.begin() + kThird, s.frames[kListener]); });
  refused_as_sent(words, [](Session& s) { s.frames[kFirst] = frame(Frame::go); });
  refused_as_sent(words, [](Session& s) { s.frames[kFirst] = frame(Frame::acknowledge); });
  refused_as_sent(words, [](Session& s) { s.frames.push_back(s.frames[kEnd]); });
}

TEST_F(TakeoverRecords, MoreOrLessDataThanAnnounced) {
  refused_as_sent("less data", [](Session& s) { s.frames.erase(s.frames.begin() + kMoreData); });
  refused_as_sent("less data", [](Session& s) { s.frames.resize(kMoreData), s.frames.push_back(frame(Frame::go)); });
  refused_as_sent("more data", [](Session& s) { s.frames[kData] = frame(Frame::data, std::string(101, 'q')); });
  refused_as_sent("more data", [](Session& s) { s.frames.insert(s.frames.begin() + kThird, s.frames[kData]); });
  refused_as_sent("more data", [](Session& s) { s.frames.insert(s.frames.begin() + kSecond, s.frames[kData]); });
}

// An older version gave data without bytes to the last connection, even if there was no connection yet.
TEST_F(TakeoverRecords, DataOfNoBytes) {
  for (const std::size_t where : {kListener, kFirst, kSecond, kData, kEnd}) {
    refused_as_sent("data", [&](Session& s) {
      s.frames.insert(s.frames.begin() + static_cast<std::ptrdiff_t>(where), frame(Frame::data));
    });
  }
}

TEST_F(TakeoverRecords, RecordsWithoutDescriptorsAndDescriptorsWithoutRecords) {
  refused("without its descriptor", [](Session& s) { s.fds.clear(); });
  refused("without its descriptor", [](Session& s) { s.fds.pop_back(); });
  refused("without its descriptor", [](Session& s) { s.listener.sockets = UINT32_MAX, s.fds.resize(1); });
  refused("without a socket", [](Session& s) { s.listener.sockets = 0; });
  refused("another number", [](Session& s) { s.fds.push_back(s.fds[0]); });
  refused("without records", [](Session& s) { s.fds.resize(600, s.fds[0]); });
  refused("another number", [](Session& s) { s.end.connections = 2; });
  refused("another number", [](Session& s) { s.end.connections = UINT32_MAX; });
  refused("another number", [](Session& s) { s.end.listeners = 0; });
}

TEST_F(TakeoverRecords, DescriptorsOfAnotherKind) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const Fd read_end(pipe[0]), write_end(pipe[1]);
  const Fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const Fd datagram(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Fd silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  for (const int fd : {read_end.get(), file.get(), datagram.get()}) {
    refused("not that of a listening", [&](Session& s) { s.fds[0] = fd; });
    refused("not that of one", [&](Session& s) { s.fds[2] = fd; });
  }
  refused("not that of a listening", [&](Session& s) { s.fds[0] = silent.get(); });
  refused("not that of a listening", [](Session& s) { s.fds[0] = s.fds[1]; });
  refused("not that of one", [](Session& s) { s.fds[1] = s.fds[0]; });
}

TEST_F(TakeoverRecords, NamesAndNumbersThatPointNowhere) {
  Session unknown;
  unknown.connections[1].protocol = "another";
  unknown.build();
  EXPECT_TRUE(is(import(unknown).error, std::errc::protocol_not_supported));
  Session nameless;
  nameless.listener.protocol.clear();
  nameless.build();
  EXPECT_TRUE(is(import(nameless).error, std::errc::protocol_not_supported));
  for (const std::uint32_t number : {1u, 2u, UINT32_MAX - 1}) {
    refused("a listener that was not sent", [&](Session& s) { s.connections[1].listener = number; });
  }
  refused("too long", [](Session& s) { s.listener.protocol.assign(256, 'n'); });
  refused("too long", [](Session& s) { s.listener.path.assign(4097, '/'); });
  refused("too long", [](Session& s) { s.connections[0].state.resize(60'001); });
  // For the system, such a path ends at the zero byte. It names another file, which would be unlinked.
  refused("a path with a zero byte in it", [](Session& s) { s.listener.path = std::string("/tmp/a\0b", 8); });
}

TEST_F(TakeoverRecords, ValuesThatCantBe) {
  const auto first = [&](const std::function<void(detail::ConnectionRecord&)>& change) {
    refused("garbled", [&](Session& s) { change(s.connections[0]); });
    if (HasFailure()) std::printf("of these\n");
  };
  first([](auto& r) { r.queued = r.limits.max_queued + 1; });
  first([](auto& r) { r.queued = UINT64_MAX; });
  first([](auto& r) { r.limits.low_water = r.limits.high_water + 1; });
  first([](auto& r) { r.limits.high_water = r.limits.max_queued + 1; });
  first([](auto& r) { r.idle_ns = UINT64_MAX; });
  first([](auto& r) { r.clock_ns = UINT64_MAX; });
  first([](auto& r) { r.clock_ns = std::uint64_t{1} << 63; });
  refused("garbled", [](Session& s) { s.listener.limits.low_water = s.listener.limits.high_water + 1; });
  refused("garbled", [](Session& s) { s.connections[1].fin_sent = s.connections[1].write_ended = true; });
}

// A correct exporter never sends these states. If the importer accepted them, such a connection would never end, never
// read, or never send its FIN.
TEST_F(TakeoverRecords, StatesThatNoConnectionIsIn) {
  const auto garbled = [&](const std::function<void(Session&)>& change) { refused("garbled", change); };
  garbled([](Session& s) { s.connections[0].fin_sent = true; });
  garbled([](Session& s) { s.connections[0].write_ended = true; });
  garbled([](Session& s) {
    s.connections[0].read_ended = s.connections[0].write_ended = s.connections[0].fin_sent = true;
  });
  garbled([](Session& s) { s.connections[0].full = true; });
  garbled([](Session& s) { s.connections[0].waiting = true; });
  garbled([](Session& s) { s.connections[2].clock_ns = 0; });
  garbled([](Session& s) { s.connections[2].limits.linger = std::chrono::nanoseconds::zero(); });
  garbled([](Session& s) { s.connections[2].write_ended = s.connections[2].fin_sent = false; });
}

TEST_F(TakeoverRecords, TheLongestTimesAreTaken) {
  Session session;
  constexpr auto kForever = std::numeric_limits<std::int64_t>::max();
  session.connections[0].idle_ns = session.connections[0].clock_ns = kForever;
  session.connections[0].limits.idle_timeout = session.connections[0].limits.linger =
      std::chrono::nanoseconds{kForever};
  session.connections[1].idle_ns = 1;
  session.connections[1].clock_ns = kForever;
  session.connections[2].limits.linger = std::chrono::nanoseconds{kForever};
  session.build();
  const TakeoverResult result = import(session);
  EXPECT_FALSE(result.error) << result.reason;
}

TEST_F(TakeoverRecords, AStallBeforeItsTimeIsNone) {
  const auto later = static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now().time_since_epoch() + 1h).count());
  Session session;
  session.frames[kHello] = frame(Frame::hello, bytes_of(detail::HelloRecord{later}));
  const TakeoverResult result = import(session);
  EXPECT_FALSE(result.error) << result.reason;
  EXPECT_GE(result.stall, 0ns);
}

}  // namespace
}  // namespace onloop::test
