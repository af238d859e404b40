// The smallest onloop program: an echo server on the native loop.
#include <onloop/onloop.hpp>

#include <cstdio>
#include <exception>

int main() {
  try {
    onloop::Echo echo;
    onloop::Context context{onloop::native()};
    const onloop::Listener& listener = context.listen("127.0.0.1:8080", echo);
    std::printf("listening on %s\n", listener.address().to_string().c_str());
    std::fflush(stdout);
    context.run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "echo_server: %s\n", error.what());
    return 1;
  }
}
