// Blocking calls, one client at a time. The least that there is to write, and asleep whenever it waits.
//
// What it can't do: while it waits for the bytes of one client it accepts no other. The kernel completes the second
// one's handshake and keeps its bytes, so that it looks connected and is not answered until the first one leaves.
//
// io_model_blocking_serial [ADDRESS]
#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const int listener = model::listen_at_argument(argc, argv);
  for (;;) {
    const int client = model::accept_client(listener);
    if (client >= 0) model::serve(client);
  }
}
