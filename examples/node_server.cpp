// A server that prints how many clients it has and what they send. node_client.cpp is such a client.
//
//     node_server [ADDRESS]      default: 127.0.0.1:9999
#include <onloop/node/net.hpp>

#include <iostream>

namespace node = onloop::node;

int main(int argc, char** argv) {
  onloop::Context context{onloop::native()};
  const node::Server server = node::create_server(context);

  server.listen(argc > 1 ? argv[1] : "127.0.0.1:9999",
                [&] { std::cout << "server is listening on " << server.address().to_string() << std::endl; });

  server.on_connection([&](const node::Socket& socket) {
    server.get_connections([](std::error_code, std::size_t connections) {
      std::cout << "current clients is: " << connections << std::endl;
    });
    socket.on_data([](std::string_view data) { std::cout << "received data: " << data << std::endl; });
  });

  context.run();
}
