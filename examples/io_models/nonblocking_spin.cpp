// Non-blocking sockets. The program asks each socket in turn, for ever. No client delays another.
//
// What it can't do: sleep. It never waits. When all sockets have returned EAGAIN, it asks them again at once. So it
// makes a system call for each client in each sweep, and uses all of a core, also while nothing happens.
//
// io_model_nonblocking_spin [ADDRESS]
#include <utility>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const model::Descriptor listener = model::listen_at_argument(argc, argv, SOCK_NONBLOCK);
  std::vector<model::Client> clients;
  for (;;) {
    model::Descriptor next = model::accept_client(listener, SOCK_NONBLOCK);
    if (next) clients.emplace_back(std::move(next));
    for (model::Client& client : clients) client.step();
    std::erase_if(clients, [](const model::Client& client) { return client.is_over(); });
  }
}
