// Echo with a coroutine for each client: the six lines from `Task<> echo` on. Usage: echo_in_coroutines [ADDRESS]
#include <onloop/coroutine.hpp>

#include <csignal>
#include <cstdio>
#include <exception>

onloop::co::Async<> echo(onloop::co::Stream connection) {
  while (const auto data = co_await connection.read()) co_await connection.write(*data);
}

int main(int argc, char** argv) try {
  onloop::Context context{onloop::native()};
  const auto server = onloop::co::serve(context, argc > 1 ? argv[1] : "127.0.0.1:0", echo);
  std::printf("listening on %s (native)\n", server.address().to_string().c_str());
  std::fflush(stdout);
  const auto stop = context.on_signal(SIGTERM, [&] { context.stop(); });
  context.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_in_coroutines: %s\n", error.what());
  return 1;
}
