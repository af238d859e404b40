// Blocking calls, and a thread for each client. Each thread waits only for its own client.
//
// What it can't do: be cheap. A client costs a thread with its stack: 8 MiB of address space, of which the touched
// pages are resident. A message costs a switch between threads. Whatever clients share needs locks. The echo shares
// nothing, so there are no locks here. The threads are detached: a thread ends with its client or with the process.
//
// io_model_thread_per_connection [ADDRESS]
#include <system_error>
#include <thread>
#include <utility>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const model::Descriptor listener = model::listen_at_argument(argc, argv);
  for (;;) {
    model::Descriptor client = model::accept_client(listener);
    if (!client) continue;
    try {
      std::thread{model::serve, std::move(client)}.detach();
    } catch (const std::system_error& error) {
      std::fprintf(stderr, "a client is turned away: %s\n", error.what());
    }
  }
}
