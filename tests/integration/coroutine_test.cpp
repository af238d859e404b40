// Coroutines: what resumes them, what ends them, and what they leave behind.
#include <onloop/coroutine.hpp>

#include <cerrno>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node_drive.hpp"

namespace onloop::test {
namespace {

class Coroutines : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Coroutines);

std::string_view text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

co::Async<> echo(co::Stream connection) {
  while (const auto data = co_await connection.read()) co_await connection.write(*data);
}

// A local variable of a coroutine, which notes when it is destroyed.
class Trace {
 public:
  explicit Trace(int& gone) : gone_(&gone) {}
  Trace(Trace&& other) noexcept : gone_(std::exchange(other.gone_, nullptr)) {}
  Trace& operator=(Trace&&) = delete;
  ~Trace() {
    if (gone_) ++*gone_;
  }

 private:
  int* gone_;
};

TEST_P(Coroutines, EchoServesClientsAtOnceUntilTheyEnd) {
  const node::Server server = co::serve(context(), "127.0.0.1:0", echo);
  const std::string content = pattern(300'000);
  int finished = 0;
  for (int i = 0; i < 5; ++i) {
    co::spawn(context(), [&, to = server.address().to_string()]() -> co::Async<> {
      co::Stream connection = co_await co::connect(to);
      std::string got;
      EXPECT_TRUE(co_await connection.write(content));
      connection.end();
      while (const auto data = co_await connection.read()) got += text_of(*data);
      EXPECT_EQ(got, content);
      EXPECT_FALSE(connection.error());
      if (++finished == 5) server.close();
    });
  }
  context().run();  // until nothing is left
  EXPECT_EQ(finished, 5);
}

TEST_P(Coroutines, GoOnInAMicrotask) {
  std::vector<std::string> log;
  co::spawn(context(), [&]() -> co::Async<> {
    log.emplace_back("begun");
    co_await co::sleep(0ns);
    log.emplace_back("resumed");
  });
  node::queue_microtask(context(), [&] {
    log.emplace_back("microtask");
    node::queue_microtask(context(), [&] { log.emplace_back("later microtask"); });
    node::next_tick(context(), [&] { log.emplace_back("tick"); });
  });
  EXPECT_TRUE(log.empty());  // spawn() does not begin by itself
  context().run();
  EXPECT_EQ(log, (std::vector<std::string>{"begun", "microtask", "later microtask", "tick", "resumed"}));
}

TEST_P(Coroutines, ResumeBeforeTheNextCallback) {
  Context context(GetParam().make());
  std::vector<std::string> log;
  const auto sleeper = [&](std::string name) -> co::Async<> {
    co_await co::sleep(0ns);
    log.push_back(name);
    node::next_tick(context, [&, name] { log.push_back(name + "'s tick"); });
  };
  co::spawn(context, [&] { return sleeper("a"); });
  co::spawn(context, [&] { return sleeper("b"); });
  context.run();
  EXPECT_EQ(log, (std::vector<std::string>{"a", "a's tick", "b", "b's tick"}));
}

TEST_P(Coroutines, AWriteWaitsForASlowReader) {
  RawListener listener("127.0.0.1:0");
  const std::string content = pattern(12'000'000);
  bool written = false;
  co::spawn(context(), [&]() -> co::Async<> {
    co::Stream connection = co_await co::connect(listener.address.to_string());
    EXPECT_TRUE(co_await connection.write(content));
    written = true;
  });
  Peer peer;
  node::Timeout reading;
  bool waited = false;
  bool ended = false;
  reading = node::set_interval(
      context(),
      [&] {
        if (peer.fd() >= 0) {
          waited = waited || !written;
          peer.read();
        } else if (readable(listener.socket.get())) {
          peer = listener.accept();
        }
        if (!peer.over()) return;
        reading.clear();
        ended = peer.ended();
        peer.close();
      },
      1ms);
  context().run();
  EXPECT_TRUE(waited);
  EXPECT_TRUE(written);
  EXPECT_EQ(peer.received(), content);
  EXPECT_TRUE(ended);
}

TEST_P(Coroutines, AResetEndsReadingAndWriting) {
  std::error_code error;
  bool taken = true;
  const node::Server server = co::serve(context(), "127.0.0.1:0", [&](co::Stream connection) -> co::Async<> {
    while (co_await connection.read()) {
    }
    error = connection.error();
    taken = co_await connection.write("to nobody");
    server.close();
  });
  Peer peer = Peer::connect_to(server.address());
  const node::Timeout reset = node::set_timeout(
      context(), [&] { peer.reset(); }, 1ms);
  context().run();
  EXPECT_TRUE(is(error, std::errc::connection_reset)) << error.message();
  EXPECT_FALSE(taken);
}

TEST_P(Coroutines, OnlyOneMayReadAtATime) {
  std::error_code error;
  const node::Server server = co::serve(context(), "127.0.0.1:0", [&](co::Stream connection) -> co::Async<> {
    co::spawn(context(), [&]() -> co::Async<> {
      try {
        static_cast<void>(co_await connection.read());
      } catch (const std::system_error& thrown) {
        error = thrown.code();
      }
      server.close();
    });
    static_cast<void>(co_await connection.read());
  });
  Peer peer = Peer::connect_to(server.address());
  server.on_connection([&](const node::Socket&) { after_turns(context(), [&] { peer.close(); }); });
  context().run();
  EXPECT_TRUE(is(error, std::errc::device_or_resource_busy)) << error.message();
}

co::Async<int> twice(int number) {
  co_await co::sleep(0ns);
  if (number < 0) throw std::out_of_range("below zero");
  co_return 2 * number;
}

TEST_P(Coroutines, GiveValuesAndExceptionsToWhoAwaitsThem) {
  int result = 0;
  std::string words;
  co::spawn(context(), [&]() -> co::Async<> {
    for (int i = 0; i < 100; ++i) result += co_await twice(i);
    try {
      co_await twice(-1);
    } catch (const std::out_of_range& thrown) {
      words = thrown.what();
    }
  });
  context().run();
  EXPECT_EQ(result, 9900);
  EXPECT_EQ(words, "below zero");
}

co::Async<int> at_once(int number) {
  co_return number;
}

// In a build without optimisation, each task used to be one call deeper on the stack.
TEST_P(Coroutines, ALoopOverTasksThatEndAtOnceNeedsNoStack) {
  int sum = 0;
  co::spawn(context(), [&]() -> co::Async<> {
    for (int i = 0; i < 300'000; ++i) sum += co_await at_once(1);
  });
  context().run();
  EXPECT_EQ(sum, 300'000);
}

TEST_P(Coroutines, WhatTheOutermostThrowsLeavesRun) {
  int gone = 0;
  co::spawn(context(), [&]() -> co::Async<> {
    const Trace local(gone);
    co_await twice(-1);
  });
  EXPECT_THROW(context().run(), std::out_of_range);
  EXPECT_EQ(gone, 1);
  context().run();  // nothing is left
}

TEST_P(Coroutines, AConnectThatFailsThrows) {
  const RefusedPort refused;
  const std::string address = refused.address.to_string();
  Thrown thrown;
  Thrown malformed;
  co::spawn(context(), [&]() -> co::Async<> {
    try {
      static_cast<void>(co_await co::connect(address));
    } catch (const std::system_error& error) {
      thrown = {error.code(), error.what()};
    }
    try {
      static_cast<void>(co_await co::connect("nowhere"));
    } catch (const std::system_error& error) {
      malformed = {error.code(), error.what()};
    }
  });
  context().run();
  EXPECT_TRUE(is(thrown.code, std::errc::connection_refused));
  EXPECT_NE(thrown.words.find("connect to " + address), std::string::npos) << thrown.words;
  EXPECT_TRUE(is(malformed.code, std::errc::invalid_argument)) << malformed.words;
}

TEST_P(Coroutines, AwaitBlockingWork) {
  Context context(GetParam().make(), {.worker_threads = 1, .worker_queue = 0});
  int number = 0;
  std::string words;
  std::error_code full;
  co::spawn(context, [&]() -> co::Async<> {
    number = co_await co::run_blocking([] { return 42; });
    try {
      co_await co::run_blocking([] { throw std::runtime_error("no such luck"); });
    } catch (const std::runtime_error& thrown) {
      words = thrown.what();
    }
    std::promise<void> go;
    std::promise<void> begun;
    context.run_blocking(
        [&, opened = go.get_future().share()] {
          begun.set_value();
          opened.wait();
        },
        [](Outcome<void>) {});
    begun.get_future().wait();
    try {
      co_await co::run_blocking([] {});
    } catch (const std::system_error& thrown) {
      full = thrown.code();
    }
    go.set_value();
  });
  context.run();
  EXPECT_EQ(number, 42);
  EXPECT_EQ(words, "no such luck");
  EXPECT_TRUE(is(full, std::errc::resource_unavailable_try_again));
}

TEST_P(Coroutines, ATaskThatNobodyAwaitsNeverBegins) {
  bool begun = false;
  {
    const auto lazy = [&]() -> co::Async<> {
      begun = true;
      co_return;
    };
    const co::Async<> task = lazy();
  }
  EXPECT_FALSE(begun);
}

TEST_P(Coroutines, TheirCallableLivesAsLongAsTheyDo) {
  int gone = 0;
  std::string seen;
  co::spawn(context(), [&, text = std::string(100, 'x'), trace = Trace(gone)]() -> co::Async<> {
    co_await co::sleep(1ms);
    seen = text;
  });
  EXPECT_EQ(gone, 0);
  context().run();
  EXPECT_EQ(seen, std::string(100, 'x'));
  EXPECT_EQ(gone, 1);
}

// The coroutines are suspended in every possible way, two calls deep.
TEST_P(Coroutines, DestroyingTheContextDestroysSuspendedCoroutines) {
  int gone = 0;
  int went_on = 0;
  std::promise<void> go;
  const std::shared_future<void> opened = go.get_future().share();
  FullListener unreachable;
  RawListener listener("127.0.0.1:0");
  Peer client;
  Peer accepted;
  const std::string content = pattern(12'000'000);
  {
    Context context(GetParam().make());
    const auto below = [&](auto await) -> co::Async<> {
      const Trace inner(gone);
      co_await await();
      ++went_on;
    };
    const auto start = [&](auto await) {
      co::spawn(context, [&, await]() -> co::Async<> {
        const Trace outer(gone);
        co_await below(await);
        ++went_on;
      });
    };
    start([] { return co::sleep(1h); });
    start([&]() -> co::Async<> { static_cast<void>(co_await co::connect(unreachable.listener.address.to_string())); });
    start([&] {
      return co::run_blocking([](const std::stop_token& token) {
        std::promise<void> asked;
        const std::stop_callback tell(token, [&] { asked.set_value(); });
        asked.get_future().wait();
      });
    });
    start([&]() -> co::Async<> {
      co::Stream connection = co_await co::connect(listener.address.to_string());
      co_await connection.write(content);
    });
    const node::Server server = co::serve(context, "127.0.0.1:0", [&](co::Stream connection) -> co::Async<> {
      const Trace local(gone);
      context.post([&] { context.stop(); });
      static_cast<void>(co_await connection.read());
      ++went_on;
    });
    client = Peer::connect_to(server.address());
    context.run();
    accepted = listener.accept();
    turns(context);
    EXPECT_EQ(gone, 0);
  }
  EXPECT_EQ(gone, 9);
  EXPECT_EQ(went_on, 0);
}

TEST_P(Coroutines, ACoroutineThatDestroysItsContextIsDestroyedAtItsNextSuspension) {
  for (const bool reads : {false, true}) {
    int gone = 0;
    bool went_on = false;
    bool after = false;
    RawListener listener("127.0.0.1:0");
    std::optional<Context> context(std::in_place, GetParam().make());
    co::spawn(*context, [&]() -> co::Async<> {
      const Trace local(gone);
      co::Stream connection = co_await co::connect(listener.address.to_string());
      context.reset();
      went_on = true;
      if (reads) {
        static_cast<void>(co_await connection.read());
      } else {
        co_await co::sleep(1ms);
      }
      after = true;
    });
    context->run();
    EXPECT_TRUE(went_on);
    EXPECT_FALSE(after);
    EXPECT_EQ(gone, 1);
  }
}

TEST_P(Coroutines, ComeAlongToAnotherLoop) {
  bool done = false;
  const node::Server server = co::serve(context(), "127.0.0.1:0", echo);
  co::spawn(context(), [&]() -> co::Async<> {
    co::Stream connection = co_await co::connect(server.address().to_string());
    co_await connection.write("before");
    EXPECT_EQ(text_of(*co_await connection.read()), "before");
    context().move_to(native());
    co_await connection.write("after");
    EXPECT_EQ(text_of(*co_await connection.read()), "after");
    co_await co::sleep(0ns);
    server.close();
    done = true;
  });
  context().run();
  EXPECT_TRUE(done);
}

// Reads so many bytes.
co::Async<std::size_t> read_all(co::Stream& connection, std::size_t size) {
  std::size_t got = 0;
  while (got < size) {
    const auto data = co_await connection.read();
    if (!data) break;
    got += data->size();
  }
  co_return got;
}

// Both write more than all buffers between them can hold. So both wait in write() at the same time, and neither in
// read().
TEST_P(Coroutines, TwoThatWriteMuchBeforeTheyReadGoOn) {
  for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{24} << 20}) {
    Context context(GetParam().make());
    const std::string content(piece, 'x');
    constexpr std::size_t kPieces = 3;
    int finished = 0;
    const auto talk = [&](co::Stream& connection) -> co::Async<> {
      std::size_t got = 0;
      for (std::size_t i = 1; i <= kPieces; ++i) {
        EXPECT_TRUE(co_await connection.write(content));
        if (got < i * piece) got += co_await read_all(connection, i * piece - got);
      }
      EXPECT_EQ(got, kPieces * piece);
      ++finished;
    };
    const node::Server server =
        co::serve(context, "127.0.0.1:0", [&](co::Stream connection) -> co::Async<> { co_await talk(connection); });
    co::spawn(context, [&, to = server.address().to_string()]() -> co::Async<> {
      co::Stream connection = co_await co::connect(to);
      co_await talk(connection);
      server.close();
    });
    run_to_the_end(context);
    EXPECT_EQ(finished, 2) << piece;
  }
}

TEST_P(Coroutines, OneReadsWhileAnotherWrites) {
  constexpr std::size_t kTotal = 20'000'000;
  const std::string piece(1'000'000, 'x');
  std::size_t got = 0;
  const node::Server server = co::serve(context(), "127.0.0.1:0", echo);
  co::spawn(context(), [&, to = server.address().to_string()]() -> co::Async<> {
    const auto connection = std::make_shared<co::Stream>(co_await co::connect(to));
    co::spawn(context(), [&, connection]() -> co::Async<> {
      for (std::size_t sent = 0; sent < kTotal; sent += piece.size()) EXPECT_TRUE(co_await connection->write(piece));
      connection->end();
    });
    got = co_await read_all(*connection, kTotal + 1);
    server.close();
  });
  run_to_the_end(context());
  EXPECT_EQ(got, kTotal);
}

// For a coroutine that waits in write(), the connection holds at most the bytes of that write.
TEST_P(Coroutines, AnEchoKeepsLittleForAPeerThatDoesNotRead) {
  const TemporaryDirectory directory;
  const std::string address = "unix:" + directory.file("socket");
  const node::Server server = co::serve(context(), address, echo);
  server.on_connection([&](const node::Socket&) { server.close(); });
  Peer peer = Peer::connect_to(Address::parse(address));
  const std::string piece(100'000, 'x');
  std::size_t sent = 0;
  int stuck = 0;
  node::Timeout sending;
  sending = node::set_interval(
      context(),
      [&] {
        const std::size_t taken = peer.send(piece);
        sent += taken;
        stuck = taken == 0 ? stuck + 1 : 0;
        if (stuck < 20 && sent < 40'000'000) return;
        sending.clear();
        peer.close();
      },
      1ms);
  run_to_the_end(context());
  EXPECT_LT(sent, 4'000'000u) << "it would have taken anything";
}

TEST_P(Coroutines, ResetEndsWhatWaitsAndThePeerSeesIt) {
  RawListener listener("127.0.0.1:0");
  bool read_on = true;
  bool wrote = true;
  co::spawn(context(), [&]() -> co::Async<> {
    const auto connection = std::make_shared<co::Stream>(co_await co::connect(listener.address.to_string()));
    co::spawn(context(), [&, connection]() -> co::Async<> { read_on = (co_await connection->read()).has_value(); });
    co::spawn(context(),
              [&, connection]() -> co::Async<> { wrote = co_await connection->write(std::string(20'000'000, 'x')); });
    co_await co::sleep(0ns);
    co_await co::sleep(0ns);
    connection->reset();
    EXPECT_FALSE(co_await connection->write("more"));
    EXPECT_FALSE(connection->error());
  });
  run_to_the_end(context());
  Peer peer = listener.accept();
  EXPECT_FALSE(read_on);
  EXPECT_FALSE(wrote);
  while (peer.read()) {
  }
  EXPECT_EQ(peer.error(), ECONNRESET);
}

}  // namespace
}  // namespace onloop::test
