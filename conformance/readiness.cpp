#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {

TEST_P(Ops, C1_idle_is_silent_and_sleeps) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ);
  guest.expect_silence();
  guest.expect_sleep();
}

TEST_P(Ops, C2_readable_after_a_write) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.turn();
  EXPECT_EQ(watch.calls, 0);
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  EXPECT_EQ(watch.readiness, ONLOOP_READ);
}

TEST_P(Ops, C3_readable_before_the_watch_was_added) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
}

TEST_P(Ops, C4_writable_at_once) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_WRITE);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  EXPECT_EQ(watch.readiness, ONLOOP_WRITE);
}

TEST_P(Ops, C5_writable_only_after_the_peer_drained) {
  const Pair pair = socket_pair();
  ASSERT_GT(fill(pair.near.get()), 0u);
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_WRITE);
  guest.expect_silence();
  ASSERT_GT(drain(pair.far.get()), 0u);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
}

TEST_P(Ops, C6_fires_again_while_unread) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return watch.calls >= 3; }));
  EXPECT_EQ(take(pair.near.get()), "x");
  guest.expect_silence();
}

TEST_P(Ops, C7_fires_again_after_a_partial_read) {
  const Pair pair = socket_pair();
  std::string got;
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ, [&](std::uint32_t) { got += take(pair.near.get(), 1); });
  ASSERT_TRUE(put(pair.far.get(), "abc"));
  EXPECT_TRUE(guest.until([&] { return got == "abc"; }));
  guest.expect_silence();
}

TEST_P(Ops, C8_a_partial_write_goes_on_when_there_is_room) {
  const Pair pair = socket_pair();
  const std::string data(1 << 20, 'd');
  std::size_t sent = 0;
  std::size_t got = 0;
  RawGuest guest{provider()};
  auto& writer = guest.add(pair.near.get(), ONLOOP_WRITE);
  writer.on_ready = [&](std::uint32_t) {
    const ssize_t wrote = ::write(pair.near.get(), data.data() + sent, data.size() - sent);
    if (wrote > 0) sent += static_cast<std::size_t>(wrote);
    if (sent == data.size()) guest.set(writer, ONLOOP_NONE);
  };
  guest.add(pair.far.get(), ONLOOP_READ, [&](std::uint32_t) { got += take(pair.far.get(), 10'000).size(); });
  EXPECT_TRUE(guest.until([&] { return got == data.size(); }));
  EXPECT_GT(writer.calls, 1) << "one write took it all, so nothing was shown";
}

TEST_P(Ops, C9_both_directions_in_one_call) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  std::uint32_t first = 0;
  RawGuest guest{provider()};
  guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE, [&](std::uint32_t readiness) {
    if (!first) first = readiness;
  });
  EXPECT_TRUE(guest.until([&] { return first != 0; }));
  EXPECT_EQ(first, ONLOOP_READ | ONLOOP_WRITE);
}

TEST_P(Ops, C10_only_requested_directions) {
  const Pair reading = socket_pair();
  const Pair writing = socket_pair();
  ASSERT_TRUE(put(reading.far.get()));
  ASSERT_TRUE(put(writing.far.get()));
  RawGuest guest{provider()};
  const auto& reader = guest.add(reading.near.get(), ONLOOP_READ);   // it is writable too
  const auto& writer = guest.add(writing.near.get(), ONLOOP_WRITE);  // it is readable too
  EXPECT_TRUE(guest.until([&] { return reader.calls >= 2 && writer.calls >= 2; }));
  EXPECT_EQ(reader.readiness, ONLOOP_READ);
  EXPECT_EQ(writer.readiness, ONLOOP_WRITE);
}

TEST_P(Ops, C11_interest_is_absolute_and_changes_both_ways) {
  const Pair pair = socket_pair();
  ASSERT_TRUE(put(pair.far.get()));
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  EXPECT_TRUE(guest.until([&] { return watch.readiness == ONLOOP_READ; }));
  guest.set(watch, ONLOOP_READ | ONLOOP_WRITE);
  EXPECT_TRUE(guest.until([&] { return watch.readiness == (ONLOOP_READ | ONLOOP_WRITE); }));
  watch.readiness = 0;
  guest.set(watch, ONLOOP_WRITE);
  const int before = watch.calls;
  EXPECT_TRUE(guest.until([&] { return watch.calls > before + 3; }));
  EXPECT_EQ(watch.readiness, ONLOOP_WRITE);
}

TEST_P(Ops, C12_zero_interest_is_silent_and_costs_no_turn) {
  const Pair pair = socket_pair();
  RawGuest guest{provider()};
  auto& dropped = guest.add(pair.near.get(), ONLOOP_READ | ONLOOP_WRITE);
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(guest.until([&] { return dropped.calls > 0; }));
  guest.set(dropped, ONLOOP_NONE);
  guest.expect_silence();
  guest.expect_sleep();
}

TEST_P(Ops, C12_zero_interest_is_silent_under_hang_up_and_error) {
  Pair closed = socket_pair();     // HUP
  Pair writer_gone = pipe_pair();  // HUP without IN
  Pair reader_gone = pipe_pair();  // ERR
  Pair reset = tcp_pair();         // ERR and HUP, with unread data
  RawGuest guest{provider()};
  auto& by_change = guest.add(closed.near.get(), ONLOOP_READ);
  guest.add(writer_gone.near.get(), ONLOOP_NONE);
  guest.add(reader_gone.far.get(), ONLOOP_NONE);
  guest.add(reset.near.get(), ONLOOP_NONE);
  guest.set(by_change, ONLOOP_NONE);
  closed.far.reset();
  writer_gone.far.reset();
  reader_gone.near.reset();
  ASSERT_TRUE(put(reset.far.get()));
  const linger at_once{1, 0};
  ASSERT_EQ(::setsockopt(reset.far.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  reset.far.reset();
  guest.expect_silence();
  guest.expect_sleep();
}

TEST_P(Ops, C13_zero_interest_then_restored_finds_what_came_meanwhile) {
  Pair pair = socket_pair();
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  guest.set(watch, ONLOOP_NONE);
  ASSERT_TRUE(put(pair.far.get(), "late"));
  pair.far.reset();
  guest.expect_silence();
  guest.set(watch, ONLOOP_READ);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  EXPECT_EQ(take(pair.near.get()), "late");
}

TEST_P(OnContext, C14_several_watches_of_one_descriptor_are_called) {
  Context context{loop()};
  const Pair pair = socket_pair();
  int reads = 0;
  int reads_of_second = 0;
  int writes = 0;
  Watch first = context.watch(pair.near.get(), Interest::read, [&](Interest) { ++reads; });
  const Watch second = context.watch(pair.near.get(), Interest::read, [&](Interest) { ++reads_of_second; });
  Watch writer = context.watch(pair.near.get(), Interest::write, [&](Interest) { ++writes; });
  EXPECT_TRUE(until(context, [&] { return writes > 0; }));
  writer.cancel();
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(until(context, [&] { return reads > 0 && reads_of_second > 0; }));
  first.cancel();
  const int before = reads;
  const int before_of_second = reads_of_second;
  EXPECT_TRUE(until(context, [&] { return reads_of_second > before_of_second; })) << "the second watch goes on";
  EXPECT_EQ(reads, before);
}

TEST_P(OnContext, C15_a_regular_file_or_directory_is_an_error_in_words) {
  Context context{loop()};
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_TRUE(is(error_of([&] { static_cast<void>(context.watch(::fileno(file), Interest::read, [](Interest) {})); }),
                 std::errc::operation_not_permitted));
  std::fclose(file);
  const Descriptor directory{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  EXPECT_TRUE(is(error_of([&] { static_cast<void>(context.watch(directory.get(), Interest::read, [](Interest) {})); }),
                 std::errc::operation_not_permitted));
  EXPECT_TRUE(is(error_of([&] { static_cast<void>(context.watch(-1, Interest::read, [](Interest) {})); }),
                 std::errc::bad_file_descriptor));
  turns(context);
}

TEST_P(OnContext, C16_spurious_wake_ups_are_tolerated) {
  Context context{loop()};
  class Reads : public Echo {
   public:
    void on_data(Connection& connection, std::span<const std::byte> data) override {
      EXPECT_FALSE(data.empty());
      Echo::on_data(connection, data);
    }
    void on_end(Connection& connection) override {
      ++ends;
      Echo::on_end(connection);
    }
    void on_close(Connection&, std::error_code error) override {
      EXPECT_FALSE(error) << error.message();
      ++closes;
    }
    int ends = 0;
    int closes = 0;
  } echo;
  Pair pair = socket_pair();
  context.adopt(pair.near.release(), echo);
  turns(context, 60);  // a spurious READ must not look like an end, nor a spurious WRITE like a drained queue
  EXPECT_EQ(echo.ends + echo.closes, 0);
  ASSERT_TRUE(put(pair.far.get(), "hello"));
  std::string back;
  EXPECT_TRUE(until(context, [&] { return (back += take(pair.far.get())) == "hello"; }));
  pair.far.reset();
  EXPECT_TRUE(until(context, [&] { return echo.closes == 1; }));
}

// If the host has no such event, the shim returns an error and nothing has changed.
TEST_P(Ops, C17a_out_of_band_data_is_priority_where_the_host_knows_it) {
  const Pair pair = tcp_pair();
  RawGuest guest{provider()};
  auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  const int result = guest.try_set(watch, ONLOOP_READ | ONLOOP_PRIORITY);
  if (result == -EINVAL) {
    const Pair other = tcp_pair();
    EXPECT_EQ(guest.try_add(other.near.get(), ONLOOP_PRIORITY), -EINVAL);
    ASSERT_TRUE(put(pair.far.get()));
    EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
    return;
  }
  ASSERT_EQ(result, 0);
  guest.expect_silence();
  ASSERT_EQ(::send(pair.far.get(), "!", 1, MSG_OOB), 1);
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
  EXPECT_EQ(watch.readiness, ONLOOP_PRIORITY);
  char byte = 0;
  ASSERT_EQ(::recv(pair.near.get(), &byte, 1, MSG_OOB), 1);
  watch.readiness = 0;
  const int calls = watch.calls;
  ASSERT_TRUE(put(pair.far.get(), "in band"));
  EXPECT_TRUE(guest.until([&] { return watch.calls > calls; }));
  EXPECT_EQ(watch.readiness, ONLOOP_READ);
  guest.set(watch, ONLOOP_PRIORITY);
  guest.expect_silence();
}

TEST_P(Ops, C17_out_of_band_data_is_not_readability) {
  const Pair pair = tcp_pair();
  RawGuest guest{provider()};
  const auto& watch = guest.add(pair.near.get(), ONLOOP_READ);
  ASSERT_EQ(::send(pair.far.get(), "!", 1, MSG_OOB), 1);
  guest.expect_silence();
  ASSERT_TRUE(put(pair.far.get(), "in band"));
  EXPECT_TRUE(guest.until([&] { return watch.calls > 0; }));
}

}  // namespace onloop::conformance
