// Sockets in Node's shape that are destroyed or fail.
#include <sys/socket.h>

#include "node_drive.hpp"

namespace onloop::test {
namespace {

class NodeErrors : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(NodeErrors);

TEST_P(NodeErrors, DestroyClosesWithoutAnErrorAndWhatWasSentArrives) {
  Notes notes;
  std::string received;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_error([](std::error_code) { FAIL(); });
    socket.on_close(notes("close"));
    EXPECT_FALSE(socket.destroyed());
    socket.write("last words");
    socket.destroy();
    socket.destroy();
    EXPECT_TRUE(socket.destroyed());
    notes("destroyed")();
  });
  const node::Socket client = connect_to(context(), server);
  client.on_data([&](std::string_view data) { received += data; });
  client.on_close([](std::error_code error) { EXPECT_FALSE(error) << error.message() << ": a FIN"; });
  run_to_the_end(context());
  EXPECT_EQ(received, "last words");
  EXPECT_EQ(notes.words, "destroyed close ");
}

TEST_P(NodeErrors, DestroyedWithAnErrorItTellsThatBeforeClose) {
  Notes notes;
  const auto code = std::make_error_code(std::errc::bad_message);
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.destroy(code);
    socket.on_error([&](std::error_code error) {
      EXPECT_EQ(error, code);
      notes("error")();
    });
    socket.on_close([&](std::error_code error) {
      EXPECT_EQ(error, code);
      notes("close")();
    });
  });
  connect_to(context(), server);
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "error close ");
}

TEST_P(NodeErrors, DestroyedWithBytesQueuedThePeerGetsAReset) {
  std::error_code seen;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    while (socket.write(pattern(100'000))) {
    }
    socket.destroy();
  });
  const node::Socket client = connect_to(context(), server);
  client.on_data([](std::string_view) {});
  client.on_close([&](std::error_code error) { seen = error; });
  run_to_the_end(context());
  EXPECT_TRUE(is(seen, std::errc::connection_reset)) << seen.message();
}

TEST_P(NodeErrors, AConnectThatFailsIsAnErrorAndThenClose) {
  Notes notes;
  const RefusedPort refused;
  const node::Socket client = node::connect(context(), refused.address.to_string(), notes("connect"));
  client.on_error([&](std::error_code error) {
    EXPECT_TRUE(is(error, std::errc::connection_refused)) << error.message();
    notes("error")();
  });
  client.on_close([&](std::error_code error) {
    EXPECT_TRUE(is(error, std::errc::connection_refused)) << error.message();
    notes("close")();
  });
  client.write("nobody reads");
  EXPECT_EQ(notes.words, "");
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "error close ");
}

TEST_P(NodeErrors, AnErrorToWhichNobodyListensIsTheContexts) {
  std::string words;
  ContextOptions options;
  options.on_error = [&](std::error_code error, std::string_view what) {
    words = std::string(what) + ": " + error.message();
  };
  Context context{GetParam().make(), options};
  const RefusedPort refused;
  const Address& address = refused.address;
  node::connect(context, address.port());
  run_to_the_end(context);
  EXPECT_EQ(words, "connect to " + address.to_string() + ": Connection refused");
  words.clear();
  node::connect(context, address.port()).on_close([] {});
  run_to_the_end(context);
  EXPECT_EQ(words, "") << "it was told at 'close'";
  const node::Server server = serve_one(
      context, [](const node::Socket& socket) { socket.destroy(std::make_error_code(std::errc::bad_message)); });
  connect_to(context, server);
  run_to_the_end(context);
  EXPECT_EQ(words, "a client's connection: Bad message");
}

TEST_P(NodeErrors, WhatMakesAnAttemptImpossibleIsThrown) {
  EXPECT_TRUE(is(thrown_by([&] { return node::connect(context(), "nonsense"); }).code, std::errc::invalid_argument));
  const auto to_bad_name = [&] { return node::connect(context(), 80, "no such name"); };
  EXPECT_TRUE(is(thrown_by(to_bad_name).code, std::errc::invalid_argument));
  run_to_the_end(context());
}

TEST_P(NodeErrors, DestroyedWhileItConnectsItOnlyCloses) {
  const FullListener full;
  Context context{GetParam().make()};
  Notes notes;
  const node::Socket client = node::connect(context, full.listener.address.to_string(), notes("connect"));
  client.on_close(notes("close"));
  client.destroy();
  run_to_the_end(context);
  EXPECT_EQ(notes.words, "close ");
}

// ---- reset_and_destroy() and destroy_soon() ----

TEST_P(NodeErrors, ResetAndDestroyedThePeerGetsAReset) {
  Notes notes;
  std::error_code error;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_error([](std::error_code) { FAIL(); });
    socket.on_close(notes("close"));
    socket.reset_and_destroy();
    EXPECT_TRUE(socket.destroyed());
    socket.reset_and_destroy();
  });
  const node::Socket client = connect_to(context(), server);
  client.on_close([&](std::error_code why) { error = why; });
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "close ");
  EXPECT_TRUE(is(error, std::errc::connection_reset)) << error.message();
}

TEST_P(NodeErrors, ResetAndDestroyedWhileItConnectsItResetsOnceItHas) {
  Notes notes;
  std::error_code error;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_close([&](std::error_code why) { error = why; });
    socket.resume();
  });
  const node::Socket client = connect_to(context(), server);
  client.on_close(notes("close"));
  client.write("queued");
  client.reset_and_destroy();
  run_to_the_end(context());
  EXPECT_EQ(notes.words, "close ");
  EXPECT_TRUE(is(error, std::errc::connection_reset)) << error.message();
}

// As Node: it connects, sends, and ends.
TEST_P(NodeErrors, DestroyedSoonWhileItConnectsItSendsWhatWasWritten) {
  Notes notes;
  std::string received;
  bool ended = false;
  const node::Server server = serve_one(context(), [&](const node::Socket& socket) {
    socket.on_data([&](std::string_view data) { received += data; });
    socket.on_end([&] { ended = true; });
  });
  const node::Socket client = connect_to(context(), server);
  client.on_connect(notes("connect"));
  client.on_error([](std::error_code why) { FAIL() << why.message(); });
  client.on_close(notes("close"));
  client.write("last words");
  client.destroy_soon();
  EXPECT_FALSE(client.write("too late"));
  run_to_the_end(context());
  EXPECT_EQ(received, "last words");
  EXPECT_TRUE(ended);
  EXPECT_EQ(notes.words, "connect close ");
}

TEST_P(NodeErrors, DestroyedSoonBeforeAConnectFailsItTellsThat) {
  const RefusedPort refused;
  Context context{GetParam().make()};
  std::error_code error;
  const node::Socket client = node::connect(context, refused.address.to_string());
  client.on_close([&](std::error_code why) { error = why; });
  client.write("to nobody");
  client.destroy_soon();
  run_to_the_end(context);
  EXPECT_TRUE(is(error, std::errc::connection_refused)) << error.message();
}

}  // namespace
}  // namespace onloop::test
