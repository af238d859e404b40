#include <sys/socket.h>

#include <algorithm>
#include <map>

#include "conformance/fixtures.hpp"

namespace onloop::conformance {
namespace {

using Trace = std::vector<std::string>;

/// More bytes than both buffers hold. The send buffer grows to 4 MiB. The receive buffer grows to 6 MiB, or to 32 MiB
/// on recent kernels.
constexpr std::size_t kMoreThanTheKernelTakes = std::size_t{48} << 20;

/// A session that uses a little of everything. The trace of a connection has what happened, not when it happened. Its
/// data is joined, since loops may divide it differently.
class Session : public Protocol {
 public:
  explicit Session(std::function<void()> done) : done_(std::move(done)) {}
  struct Name {
    std::string text;
    std::string data;
  };
  void name(Connection& connection, std::string text) { connection.emplace_state<Name>(Name{std::move(text), {}}); }
  std::map<std::string, Trace> traces;

  void on_open(Connection& connection) override { note(connection, "open"); }
  void on_data(Connection& connection, std::span<const std::byte> data) override {
    Name& name = connection.state<Name>();
    name.data.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (name.data == "please close") {
      flush(connection);
      connection.write("closing");
      connection.close();
    } else if (name.data == "please abort") {
      flush(connection);
      connection.abort(std::make_error_code(std::errc::operation_canceled));
    } else if (name.data == "please end") {
      flush(connection);
      connection.write("ending");
      connection.shutdown_write();
    } else if (name.data == "please write") {
      flush(connection);
      const Flow flow = connection.write(std::string(kMoreThanTheKernelTakes, 'w'));
      note(connection, flow == Flow::wait ? "wait" : "go");
    }
  }
  void on_drain(Connection& connection) override {
    note(connection, "drain");
    connection.close();
  }
  void on_end(Connection& connection) override {
    flush(connection);
    note(connection, "end");
    connection.write("bye");
    connection.close();
  }
  void on_close(Connection& connection, std::error_code error) override {
    flush(connection);
    note(connection, "close " + (error ? error.message() : "in order"));
    if (++closed_ == 6) done_();
  }

 private:
  void note(Connection& connection, const std::string& what) { traces[connection.state<Name>().text].push_back(what); }
  void flush(Connection& connection) {
    Name& name = connection.state<Name>();
    if (!name.data.empty()) note(connection, "data " + std::exchange(name.data, {}));
  }
  std::function<void()> done_;
  int closed_ = 0;
};

std::map<std::string, Trace> expected_traces() {
  return {
      {"closes", {"open", "data please close", "close in order"}},
      {"aborts", {"open", "data please abort", "close Operation canceled"}},
      {"ends", {"open", "data please end", "data more", "end", "close in order"}},
      {"peer ends", {"open", "data hello", "end", "close in order"}},
      {"is reset", {"open", "close Connection reset by peer"}},
      {"writes", {"open", "data please write", "wait", "drain", "close in order"}},
  };
}

}  // namespace

TEST_P(OnContext, C86_the_same_session_leaves_the_same_trace) {
  std::map<std::string, Pair> lines;
  for (const auto& [name, trace] : expected_traces()) lines.emplace(name, tcp_pair());
  Context context{loop()};
  Session session{[&] { finish(); }};
  for (auto& [name, line] : lines) session.name(context.adopt(line.near.release(), session), name);
  ASSERT_TRUE(put(lines.at("closes").far.get(), "please close"));
  ASSERT_TRUE(put(lines.at("aborts").far.get(), "please abort"));
  ASSERT_TRUE(put(lines.at("ends").far.get(), "please end"));
  ASSERT_TRUE(put(lines.at("writes").far.get(), "please write"));
  ASSERT_TRUE(put(lines.at("peer ends").far.get(), "hello"));
  ASSERT_EQ(::shutdown(lines.at("peer ends").far.get(), SHUT_WR), 0);
  reset(lines.at("is reset").far);
  // The far ends read everything. They answer an end with one more message and an end.
  std::map<std::string, std::string> received;
  const Timer far_ends = context.every(1ms, [&] {
    for (auto& [name, line] : lines) {
      const int fd = line.far.get();
      if (fd < 0) continue;
      std::string& data = received[name];
      char block[65536];
      ssize_t count = 0;
      while ((count = ::recv(fd, block, sizeof block, MSG_DONTWAIT)) > 0)
        data.append(block, static_cast<std::size_t>(count));
      if (count != 0) continue;
      if (name == "ends") put(fd, "more");
      line.far.reset();
    }
  });
  run(context, 30s);
  EXPECT_TRUE(until(context, [&] {
    return std::all_of(lines.begin(), lines.end(), [](const auto& line) { return line.second.far.get() < 0; });
  }));
  EXPECT_EQ(session.traces, expected_traces());
  EXPECT_EQ(received["closes"], "closing");
  EXPECT_EQ(received["ends"], "ending");
  EXPECT_EQ(received["peer ends"], "bye");
  EXPECT_EQ(received["writes"].size(), kMoreThanTheKernelTakes);
}

TEST_P(OnContext, C87_timers_then_io_then_tasks_within_a_turn) {
  if (!provider().whole_batches()) {
    // On such a loop each up-call is a turn of its own. One rule holds on every loop: a task comes after the callback
    // that posts it.
    Context context{loop()};
    std::vector<int> order;
    const Timer timer = context.timer(0ns, [&] {
      context.post([&] {
        order.push_back(2);
        finish();
      });
      order.push_back(1);
    });
    run(context);
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
    return;
  }
  const Pair pair = socket_pair();
  Context context{loop()};
  std::string order;
  turns(context);
  context.post([&] { order += "p"; });  // a task is work for the next turn, and comes last in that turn
  const Timer timer = context.timer(0ns, [&] { order += "t"; });
  const Watch watch = context.watch(pair.near.get(), Interest::read, [&](Interest) {
    if (!take(pair.near.get()).empty()) order += "i";
  });
  ASSERT_TRUE(put(pair.far.get()));
  EXPECT_TRUE(until(context, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "tip");
}

TEST_P(OnContext, C87a_work_left_by_a_call_from_the_applications_own_callback_is_done_next) {
  Pair pair = socket_pair();
  Echo echo;
  Context context{loop()};
  struct Closing : Echo {
    void on_close(Connection&, std::error_code) override { on_closed(); }
    std::function<void()> on_closed;
  } closing;
  Connection& connection = context.adopt(pair.near.release(), closing);
  turns(context);
  bool posted = false;
  provider().call_from_application([&] { context.post([&] { posted = true; }); });
  EXPECT_TRUE(until(context, [&] { return posted; }));
  closing.on_closed = [&] { finish(); };
  provider().call_from_application([&] { connection.abort(); });
  run(context);  // nothing else wakes the loop, so the call itself must do so
}

TEST_P(OnContext, C87b_on_close_and_on_drain_never_run_inside_write_close_or_abort) {
  struct Watching : Protocol {
    void on_data(Connection&, std::span<const std::byte>) override {}
    void on_drain(Connection&) override {
      EXPECT_FALSE(inside);
      ++drains;
    }
    void on_close(Connection&, std::error_code) override {
      EXPECT_FALSE(inside);
      ++closes;
    }
    bool inside = false;
    int drains = 0;
    int closes = 0;
  } protocol;
  const auto guarded = [&](auto call) {
    protocol.inside = true;
    call();
    protocol.inside = false;
  };
  Pair written = socket_pair();
  Pair closed = socket_pair();
  Pair aborted = socket_pair();
  Pair broken = socket_pair();
  Context context{loop()};
  Connection& writer = context.adopt(written.near.release(), protocol);
  Connection& closer = context.adopt(closed.near.release(), protocol);
  Connection& aborter = context.adopt(aborted.near.release(), protocol);
  Connection& to_nobody = context.adopt(broken.near.release(), protocol);
  const auto use = [&] {
    guarded([&] {
      while (writer.write(std::string(100'000, 'w')) == Flow::go) {
      }
    });
    broken.far.reset();
    guarded([&] { to_nobody.write("EPIPE"); });
    guarded([&] { closer.close(); });
    closed.far.reset();
    guarded([&] { aborter.abort(); });
    EXPECT_EQ(protocol.closes + protocol.drains, 0);
  };
  const Timer user = context.timer(0ns, use);
  const Timer reader = context.every(1ms, [&] { drain(written.far.get()); });
  EXPECT_TRUE(until(context, [&] { return protocol.closes == 3 && protocol.drains == 1; }));
  guarded([&] { writer.close(); });
  written.far.reset();
  EXPECT_TRUE(until(context, [&] { return protocol.closes == 4; }));
}

// close(2) with unread input makes the kernel send a reset. A reset destroys what the peer has not read yet.
TEST_P(OnContext, C87c_close_with_unread_input_loses_nothing_that_was_written) {
  constexpr std::size_t kSize = std::size_t{4} << 20;
  struct Once : Protocol {
    void on_data(Connection& connection, std::span<const std::byte>) override {
      connection.write(std::string(kSize, 'r'));
      connection.close();
    }
    void on_close(Connection&, std::error_code error) override {
      EXPECT_FALSE(error) << error.message();
      closed = true;
    }
    bool closed = false;
  } once;
  Pair pair = tcp_pair();
  ASSERT_GT(fill(pair.far.get()), std::size_t{65536});  // more input than the connection ever reads
  Context context{loop()};
  context.adopt(pair.near.release(), once);
  std::size_t received = 0;
  bool ended = false;
  const Timer reader = context.every(1ms, [&] {
    char block[65536];
    ssize_t count = 0;
    while (!ended && (count = ::recv(pair.far.get(), block, sizeof block, MSG_DONTWAIT)) > 0) {
      received += static_cast<std::size_t>(count);
    }
    EXPECT_FALSE(count < 0 && errno == ECONNRESET) << "after " << received << " bytes";
    if (count == 0 && !ended) {
      ended = true;
      pair.far.reset();
    }
  });
  EXPECT_TRUE(until(
      context, [&] { return once.closed && ended; }, 30s));
  EXPECT_EQ(received, kSize);
}

}  // namespace onloop::conformance
