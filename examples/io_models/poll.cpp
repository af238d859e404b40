// One wait for all descriptors, by poll(). It is like select() with a list instead of bits, so it does not have the
// limit of select().
//
// What it can't do: remember. In each turn the list goes to the kernel, the kernel walks it, and the program searches
// it. This costs more with more clients, active or not.
//
// io_model_poll [ADDRESS]
#include <poll.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const model::Descriptor listener = model::listen_at_argument(argc, argv, SOCK_NONBLOCK);
  std::vector<model::Client> clients;
  std::vector<pollfd> watched;  // the clients in their order, then the listener
  for (;;) {
    watched.clear();
    for (const model::Client& client : clients) {
      watched.push_back({client.fd(), static_cast<short>(client.has_unsent() ? POLLOUT : POLLIN), 0});
    }
    watched.push_back({listener.get(), POLLIN, 0});
    if (poll(watched.data(), watched.size(), -1) < 0) {
      if (errno != EINTR) model::die("poll");
      continue;
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (watched[i].revents != 0) clients[i].step();  // also for an error or a hang-up: recv or send then fails
    }
    std::erase_if(clients, [](const model::Client& client) { return client.is_over(); });
    if (watched.back().revents == 0) continue;
    model::Descriptor client = model::accept_client(listener, SOCK_NONBLOCK);
    if (client) clients.emplace_back(std::move(client));
  }
}
