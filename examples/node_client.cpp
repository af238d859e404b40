// A client of node_server.cpp. It stays connected, so it runs until the server ends or until Ctrl+C.
//
//     node_client [ADDRESS]      default: 127.0.0.1:9999
#include <onloop/node/net.hpp>

#include <iostream>
#include <random>
#include <string>

int main(int argc, char** argv) {
  onloop::Context context{onloop::native()};
  const onloop::node::Socket client = onloop::node::connect(context, argc > 1 ? argv[1] : "127.0.0.1:9999");

  client.on_connect([&] {
    std::cout << "connect success" << std::endl;
    client.write("Hello Server!, I'm " + std::to_string(std::random_device{}() % 101));
  });

  context.run();
}
