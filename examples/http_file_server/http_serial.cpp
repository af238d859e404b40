// A server without an event loop: one thread, one connection after the other.
#include "blocking.hpp"

int main(int argc, char** argv) {
  return http::run_server(http::Kind::without_loop, argc, argv, [](const http::Options& options) {
    const http::DocumentRoot root{options.root};
    http::accept_forever(options, "serial", [&](const onloop::Descriptor& socket) {
      http::handle_connection(socket, root, options.timeout);
    });
  });
}
