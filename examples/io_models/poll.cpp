// One wait for all descriptors, by poll(): select() with a list in place of bits, and so without its limit.
//
// What it can't do: remember. The list goes to the kernel in each turn, is walked there and searched here, which costs
// the more the more clients there are, active or not.
//
// io_model_poll [ADDRESS]
#include <poll.h>

#include <cstddef>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const int listener = model::listen_at_argument(argc, argv, SOCK_NONBLOCK);
  std::vector<model::Client> clients;
  std::vector<pollfd> watched;  // the clients in their order, then the listener
  for (;;) {
    watched.clear();
    for (const model::Client& client : clients) {
      watched.push_back({client.fd(), static_cast<short>(client.has_unsent() ? POLLOUT : POLLIN), 0});
    }
    watched.push_back({listener, POLLIN, 0});
    if (poll(watched.data(), watched.size(), -1) < 0) {
      if (errno != EINTR) model::die("poll");
      continue;
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (watched[i].revents != 0) clients[i].step();  // an error or a hang-up, too: recv or send tells
    }
    std::erase_if(clients, [](const model::Client& client) { return client.is_over(); });
    if (watched.back().revents == 0) continue;
    const int fd = model::accept_client(listener, SOCK_NONBLOCK);
    if (fd >= 0) clients.emplace_back(fd);
  }
}
