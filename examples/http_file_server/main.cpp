// The HTTP server with an event loop, on any loop of onloop. README.md explains the code.
#include <signal.h>
#include <onloop/onloop.hpp>

#include "document_root.hpp"
#include "file_server.hpp"
#include "options.hpp"

namespace {

onloop::Loop loop_of(const http::Options& options) {
  const onloop::Loop loop = onloop::loop_by_name(options.loop);
  return options.hosting ? loop.hosted(*options.hosting) : loop;
}

void serve(const http::Options& options) {
  const http::DocumentRoot root{options.root};
  http::FileServer server{root, options.timeout};
  onloop::Context context{loop_of(options), options.context};
  const onloop::Listener& listener = context.listen(options.listen, server, server.listen_options());
  const onloop::Signal interrupt = context.on_signal(SIGINT, [&context] { context.stop(); });
  const onloop::Signal terminate = context.on_signal(SIGTERM, [&context] { context.stop(); });
  http::say_listening(listener.address(), options.loop);
  context.run();
}

}  // namespace

int main(int argc, char** argv) {
  return http::run_server(http::Kind::with_loop, argc, argv, serve);
}
