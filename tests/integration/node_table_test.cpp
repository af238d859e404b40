// Small programs that are written twice, here and in node_table.js. Both versions must print the same lines.
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "node_drive.hpp"

namespace onloop::test {
namespace {

using Lines = std::vector<std::string>;

std::string code_of(const std::error_code& error) {
  return is(error, std::errc::connection_reset) ? "ECONNRESET"
         : is(error, std::errc::protocol_error) ? "EPROTO"
                                                : error.message();
}

class Program {
 public:
  explicit Program(Context& its_context) : context(its_context) {}

  void say(const std::string& line) { lines.push_back(line); }
  void told(const std::string& name, const node::Socket& socket) {
    socket.on_end([this, name] { say(name + " end"); });
    socket.on_error([this, name](std::error_code error) { say(name + " error " + code_of(error)); });
    socket.on_close([this, name] { say(name + " close"); });
  }
  /// Gathers all data of `socket`, and says it at the end of the stream.
  void gather(const node::Socket& socket) {
    const auto got = std::make_shared<std::string>();
    socket.on_data([got](std::string_view data) { *got += data; });
    socket.on_end([this, got] { say("got " + *got); });
  }
  node::Server serve(std::function<void(node::Socket)> handler, node::ServerOptions options = {}) {
    return serve_one(context, std::move(handler), std::move(options));
  }
  node::Socket connect(const node::Server& server) { return connect_to(context, server); }

  Context& context;
  Lines lines;
};

void destroy_soon_while_connecting(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    program.told("server", socket);
    program.gather(socket);
  });
  const node::Socket client = program.connect(server);
  client.write("last words");
  client.destroy_soon();
  program.say(client.writable() ? "writable true" : "writable false");
}

void end_while_connecting(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    program.told("server", socket);
    program.gather(socket);
  });
  program.connect(server).end("last words");
}

void destroy_while_connecting(Program& program) {
  const node::Server server = program.serve([&](const node::Socket&) { program.say("a client"); });
  const node::Socket client = program.connect(server);
  client.on_connect([&] { program.say("connect"); });
  program.told("client", client);
  client.write("lost");
  client.destroy();
  program.say(client.destroyed() ? "destroyed true" : "destroyed false");
  server.close();
}

void reset_and_destroy(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    program.told("server", socket);
    socket.on_data([&, socket](std::string_view data) {
      program.say("server got " + std::string(data));
      socket.reset_and_destroy();
    });
  });
  const node::Socket client = program.connect(server);
  client.on_connect([client] { client.write("hello"); });
  client.on_error([&](std::error_code error) { program.say("client error " + code_of(error)); });
  client.on_end([&] { program.say("client end"); });
  client.resume();
}

void reset_and_destroy_while_connecting(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    socket.resume();
    program.told("server", socket);
  });
  program.connect(server).reset_and_destroy();
}

void destroy_with_an_error(Program& program) {
  const node::Server server = program.serve([](const node::Socket& socket) {
    socket.resume();
    socket.on_close([] {});
  });
  const node::Socket client = program.connect(server);
  client.on_connect([client] { client.destroy(errc(std::errc::protocol_error)); });
  program.told("client", client);
}

void half_open(Program& program) {
  const node::Server server = program.serve(
      [&](const node::Socket& socket) {
        program.told("server", socket);
        socket.on_data([&](std::string_view data) { program.say("server got " + std::string(data)); });
        socket.on_end([socket] { socket.end("answer"); });
      },
      {.allow_half_open = true, .listen = {}});
  const node::Socket client = program.connect(server);
  client.on_connect([client] { client.end("question"); });
  client.on_data([&](std::string_view data) { program.say("client got " + std::string(data)); });
}

void write_after_destroy(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    socket.resume();
    socket.on_close([&] { program.say("server close"); });
  });
  const node::Socket client = program.connect(server);
  client.on_connect([&, client] {
    client.destroy();
    program.say(client.write("x") ? "write true" : "write false");
    program.say(client.writable() ? "writable true" : "writable false");
  });
}

void two_that_write_much(Program& program) {
  const auto ends = std::make_shared<int>(0);
  const auto stream = [&program, ends](const node::Socket& socket) {
    const std::string pieces(3'000'000, 'x');
    const auto got = std::make_shared<std::size_t>(0);
    socket.write(pieces);
    socket.write(pieces);
    socket.on_data([&program, ends, got, socket, all = 2 * pieces.size()](std::string_view data) {
      *got += data.size();
      if (*got != all) return;
      if (++*ends == 2) program.say("both have all");
      socket.end();
    });
  };
  const node::Server server = program.serve(stream);
  const node::Socket client = program.connect(server);
  client.on_connect([client, stream] { stream(client); });
}

void timeout_of_a_silent_one(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    socket.resume();
    program.told("server", socket);
  });
  const node::Socket client = program.connect(server);
  client.set_timeout(30ms, [&, client] {
    program.say("timeout");
    client.end();
  });
}

void paused(Program& program) {
  const node::Server server = program.serve([&](const node::Socket& socket) {
    program.told("server", socket);
    socket.pause();
    socket.on_data([&](std::string_view data) { program.say("server got " + std::string(data)); });
    node::set_timeout(
        program.context,
        [&, socket] {
          program.say("resume");
          socket.resume();
        },
        30ms);
  });
  const node::Socket client = program.connect(server);
  client.on_connect([client] { client.end("hello"); });
}

struct Row {
  const char* name;
  void (*run)(Program&);
  const char* says;  // Node 20
};

constexpr auto kTable = std::to_array<Row>({
    {"destroy_soon_while_connecting", destroy_soon_while_connecting,
     "writable false\nserver end\ngot last words\nserver close\n"},
    {"end_while_connecting", end_while_connecting, "server end\ngot last words\nserver close\n"},
    {"destroy_while_connecting", destroy_while_connecting, "destroyed true\nclient close\n"},
    {"reset_and_destroy", reset_and_destroy, "server got hello\nserver close\nclient error ECONNRESET\n"},
    {"reset_and_destroy_while_connecting", reset_and_destroy_while_connecting,
     "server error ECONNRESET\nserver close\n"},
    {"destroy_with_an_error", destroy_with_an_error, "client error EPROTO\nclient close\n"},
    {"half_open", half_open, "server got question\nserver end\nserver close\nclient got answer\n"},
    {"write_after_destroy", write_after_destroy, "write false\nwritable false\nserver close\n"},
    {"two_that_write_much", two_that_write_much, "both have all\n"},
    {"timeout_of_a_silent_one", timeout_of_a_silent_one, "timeout\nserver end\nserver close\n"},
    {"paused", paused, "resume\nserver got hello\nserver end\nserver close\n"},
});

/// What each side says, in its order.
std::map<std::string, Lines> by_side(const Lines& lines) {
  std::map<std::string, Lines> sides;
  for (const std::string& line : lines) sides[line.substr(0, line.find(' '))].push_back(line);
  return sides;
}

std::map<std::string, Lines> by_side(const std::string& text) {
  std::istringstream in(text);
  Lines lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return by_side(lines);
}

class NodeTable : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(NodeTable);

TEST_P(NodeTable, EachProgramSaysWhatItSaysInNode) {
  for (const Row& row : kTable) {
    Context context{GetParam().make()};
    Program program(context);
    row.run(program);
    run_to_the_end(context);
    EXPECT_EQ(by_side(program.lines), by_side(row.says)) << row.name;
  }
}

TEST(NodeItself, SaysWhatTheTableHas) {
  if (std::system("node --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no node here";
  for (const Row& row : kTable) {
    const std::string command = std::string("timeout 60 node " ONLOOP_NODE_TABLE " ") + row.name;
    std::FILE* node = ::popen(command.c_str(), "r");
    ASSERT_NE(node, nullptr);
    std::string text;
    std::array<char, 4096> piece;
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), node)) text.append(piece.data(), got);
    EXPECT_EQ(::pclose(node), 0) << row.name;
    EXPECT_EQ(by_side(text), by_side(row.says)) << row.name;
  }
}

}  // namespace
}  // namespace onloop::test
