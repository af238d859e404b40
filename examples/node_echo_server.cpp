// The echo server that everybody has written once in Node, with as many lines. Try it with `nc 127.0.0.1 8080`.
//
//     node_echo_server [ADDRESS]      default: 127.0.0.1:8080
#include <onloop/node/net.hpp>

#include <iostream>

int main(int argc, char** argv) {
  onloop::Context context{onloop::native()};
  auto server = onloop::node::create_server(context, [](const onloop::node::Socket& socket) {
    socket.on_data([socket](std::string_view data) {
      std::cout << "received: " << data << std::endl;
      socket.write(data);
    });
  });
  server.listen(argc > 1 ? argv[1] : "127.0.0.1:8080", [] { std::cout << "Press Ctrl+C to stop." << std::endl; });
  context.run();
}
