// Sockets that don't block, each of them asked in turn, for ever. Nobody holds up anybody.
//
// What it can't do: sleep. It never waits, so it asks again as soon as all have said EAGAIN: a system call for each
// client in each sweep, and all of a core, also while nothing happens.
//
// io_model_nonblocking_spin [ADDRESS]
#include <vector>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const int listener = model::listen_at_argument(argc, argv, SOCK_NONBLOCK);
  std::vector<model::Client> clients;
  for (;;) {
    const int fd = model::accept_client(listener, SOCK_NONBLOCK);
    if (fd >= 0) clients.emplace_back(fd);
    for (model::Client& client : clients) client.step();
    std::erase_if(clients, [](const model::Client& client) { return client.is_over(); });
  }
}
