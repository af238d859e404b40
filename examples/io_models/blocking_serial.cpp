// Blocking calls, one client at a time. This is the least that one has to write. The program sleeps whenever it waits.
//
// What it can't do: while it waits for the bytes of one client, it accepts no other. The kernel completes the handshake
// of the second client and keeps its bytes. So the second client looks connected, but it is not answered until the
// first client leaves.
//
// io_model_blocking_serial [ADDRESS]
#include <utility>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const model::Descriptor listener = model::listen_at_argument(argc, argv);
  for (;;) {
    model::Descriptor client = model::accept_client(listener);
    if (client) model::serve(std::move(client));
  }
}
