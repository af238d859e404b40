#pragma once
#include <onloop/node/net.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "drive.hpp"

namespace onloop::test {

/// Calls run(). It must return by itself, because nothing is left that keeps it running.
inline void run_to_the_end(Context& context, std::chrono::milliseconds limit = 20s) {
  bool over = false;
  const Timer guard = context.timer(limit, [&] {  // not of onloop::node, so it keeps nothing running
    over = true;
    context.stop();
  });
  context.run();
  EXPECT_FALSE(over) << "something keeps it running";
}

/// Runs `task` after `count` turns, each with its I/O. This is enough for everything that is due. A test uses it to
/// show that nothing more happens until then.
inline void after_turns(Context& context, std::function<void()> task, int count = 20) {
  node::set_immediate(context, [&context, task = std::move(task), count]() mutable {
    if (count > 1) {
      after_turns(context, std::move(task), count - 1);
    } else {
      task();
    }
  });
}

/// Notes what was called, in order: notes("a") returns a callable that adds "a ".
struct Notes {
  [[nodiscard]] auto operator()(std::string_view word) {
    return [this, word] { (words += word) += ' '; };
  }
  std::string words;
};

/// Shows whether the callable that owns a copy of it was destroyed.
inline std::shared_ptr<int> flag() {
  return std::make_shared<int>(0);
}

/// A listening server that serves its first client by `serve` and takes no other.
inline node::Server serve_one(Context& context, std::function<void(node::Socket)> serve,
                              node::ServerOptions options = {}, std::string_view address = "127.0.0.1:0") {
  const node::Server server = node::create_server(context, std::move(options));
  server.on_connection([server, serve = std::move(serve)](const node::Socket& socket) {
    server.close();
    serve(socket);
  });
  server.listen(address);
  return server;
}

inline void echo(const node::Socket& socket) {
  socket.on_data([socket](std::string_view data) { socket.write(data); });
}

inline node::Socket connect_to(Context& context, const node::Server& server, node::SocketOptions options = {}) {
  return node::connect(context, server.address().to_string(), {}, std::move(options));
}

}  // namespace onloop::test
