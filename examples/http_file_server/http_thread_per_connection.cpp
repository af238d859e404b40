// A server without an event loop: a thread for each connection.
#include <system_error>
#include <thread>
#include <utility>

#include "blocking.hpp"

int main(int argc, char** argv) {
  return http::run_server(http::Kind::without_loop, argc, argv, [](const http::Options& options) {
    const http::DocumentRoot root{options.root};
    http::accept_forever(options, "threads", [&](onloop::Descriptor socket) {
      try {
        std::thread([&root, &options, socket = std::move(socket)] {
          http::handle_connection(socket, root, options.timeout);
        }).detach();
      } catch (const std::system_error&) {  // no more threads are possible: the client is turned away
      }
    });
  });
}
