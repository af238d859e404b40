#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

int pending_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
  return error;
}

}  // namespace

TEST_P(Ops, C29_peer_close_is_readable_then_the_end) {
  Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get(), "last"));
  pair.far.reset();
  std::string got;
  bool ended = false;
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  watch.on_ready = [&](std::uint32_t) {
    char byte = 0;
    const ssize_t count = ::read(pair.near.get(), &byte, 1);
    ASSERT_GE(count, 0);
    if (count == 1) {
      got += byte;
      return;
    }
    ended = true;
    guest.set(watch, ONLOOP_NONE);
  };
  EXPECT_TRUE(guest.until([&] { return ended; }));
  EXPECT_EQ(got, "last");
  guest.expect_silence();
}

TEST_P(Ops, C30_half_close_keeps_the_other_direction) {
  const Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.far.get(), SHUT_WR), 0);
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE);
  EXPECT_TRUE(guest.until([&] { return watch.readiness == (ONLOOP_READ | ONLOOP_WRITE); }));
  guest.set(watch, ONLOOP_WRITE);
  const int before = watch.calls;
  EXPECT_TRUE(guest.until([&] { return watch.calls > before; }));
  ASSERT_TRUE(put(pair.near.get(), "still here"));
  const auto& far = guest.add(pair.far.get(), ONLOOP_READ);
  guest.set(watch, ONLOOP_NONE);
  EXPECT_TRUE(guest.until([&] { return far.calls > 0; }));
  EXPECT_EQ(take(pair.far.get()), "still here");
}

// The kernel reports HUP without IN here. A shim that maps the bits one to one loses the end of every pipe.
TEST_P(Ops, C31_hang_up_alone_on_a_pipe_is_readable) {
  Pair pair = pipe_pair();
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.expect_silence();
  pair.far.reset();
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  EXPECT_EQ(watch.readiness, ONLOOP_READ);
  char byte = 0;
  EXPECT_EQ(::read(pair.near.get(), &byte, 1), 0);
}

TEST_P(Ops, C32_a_refused_connect_makes_the_requested_directions_ready) {
  for (const std::uint32_t interest : {ONLOOP_READ, ONLOOP_WRITE, ONLOOP_READ | ONLOOP_WRITE}) {
    const Descriptor socket = refused_socket();
    RawGuest guest{provider()};
    auto& watch = guest.add(socket.get(), interest);
    EXPECT_TRUE(guest.until([&] { return watch.readiness == interest; }));
    EXPECT_EQ(pending_error(socket.get()), ECONNREFUSED);
    guest.set(watch, ONLOOP_NONE);
    guest.expect_silence();
  }
}

TEST_P(Ops, C33_a_reset_is_readiness_and_the_watch_still_works) {
  Pair pair = tcp_pair();
  ASSERT_TRUE(put(pair.far.get(), "unread"));
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  guest.set(watch, ONLOOP_NONE);
  reset(pair.far);
  guest.expect_silence();
  const int before = watch.calls;
  guest.set(watch, ONLOOP_READ | ONLOOP_WRITE);
  EXPECT_TRUE(guest.until([&] { return watch.calls >= before + 3; })) << "the watch stopped after an error";
  EXPECT_EQ(pending_error(pair.near.get()), ECONNRESET);
  guest.remove(watch);
  pair.near.reset();
  guest.expect_silence();
}

TEST_P(Ops, C33_a_pipe_without_reader_is_ready_for_writing) {
  Pair pair = pipe_pair();
  ASSERT_GT(fill(pair.far.get()), 0u);
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.far.get(), ONLOOP_WRITE);
  guest.expect_silence();
  pair.near.reset();
  EXPECT_TRUE(guest.until([&] { return watch.calls >= 3; })) << "the watch stopped after an error";
}

TEST_P(Ops, C34_after_an_error_a_changed_interest_re_arms) {
  const Descriptor socket = refused_socket();
  RawGuest guest{provider()};
  auto& watch = guest.add(socket.get(), ONLOOP_WRITE);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  for (const std::uint32_t interest : {ONLOOP_READ, ONLOOP_WRITE, ONLOOP_READ | ONLOOP_WRITE}) {
    watch.readiness = 0;
    guest.set(watch, interest);
    EXPECT_TRUE(guest.until([&] { return watch.readiness == interest; })) << "interest " << interest;
  }
}

// If a dup keeps an open file description open, epoll continues to report it under the number that was closed.
TEST_P(Ops, C35_removed_before_close_with_a_live_dup_is_silent) {
  Pair pair = socket_pair();
  const Descriptor duplicate{::fcntl(pair.near.get(), F_DUPFD_CLOEXEC, 0)};
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.remove(watch);
  pair.near.reset();
  ASSERT_TRUE(put(pair.far.get()));
  guest.expect_silence();
  guest.expect_sleep();
}

TEST_P(Ops, C35_the_same_with_zero_interest_at_the_end) {
  Pair pair = socket_pair();
  const Descriptor duplicate{::fcntl(pair.near.get(), F_DUPFD_CLOEXEC, 0)};
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.set(watch, ONLOOP_NONE);
  guest.remove(watch);
  pair.near.reset();
  ASSERT_TRUE(put(pair.far.get()));
  guest.expect_silence();
}

TEST_P(Ops, C36_the_descriptor_may_be_closed_right_after_removal) {
  RawGuest guest{provider()};
  for (int round = 0; round < 20; ++round) {
    Pair pair = socket_pair();
    ASSERT_TRUE(put(pair.far.get()));
    auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
    watch.on_ready = [&](std::uint32_t) {
      guest.remove(watch);
      pair.near.reset();
    };
    EXPECT_TRUE(guest.until([&] { return watch.calls == 1; })) << "the number of round before was reused";
    guest.turn();
  }
  guest.expect_silence();
}

// The application has made a mistake here. The loop must continue nevertheless.
TEST_P(Ops, C36a_one_that_was_closed_while_watched_leaves_its_number_to_another) {
  for (const std::uint32_t interest : {ONLOOP_READ, ONLOOP_NONE}) {
    Pair old = socket_pair();
    Pair fresh = socket_pair();
    RawGuest guest{provider()};
    auto& stale = guest.add(old.near.get(), ONLOOP_READ);
    if (interest == ONLOOP_NONE) guest.set(stale, interest);
    guest.turn();
    const int number = old.near.get();
    old.near.reset();
    ASSERT_EQ(::fcntl(fresh.near.get(), F_DUPFD_CLOEXEC, number), number);
    old.near = Descriptor{number};
    fresh.near.reset();
    guest.remove(stale);
    const auto& watch = guest.add(number, ONLOOP_READ);
    guest.expect_silence();
    ASSERT_TRUE(put(fresh.far.get()));
    EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
    EXPECT_EQ(stale.calls, 0);
  }
}

}  // namespace onloop::conformance
