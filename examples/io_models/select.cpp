// One wait for all descriptors, by select(). It sleeps until one of them is ready.
//
// What it can't do: watch a descriptor of FD_SETSIZE (1,024) or higher. The set has no bit for it. Such a client is
// turned away. And select() forgets. In each turn the program builds the sets, the kernel copies and walks them, and
// the program searches them. This costs more with more clients, active or not.
//
// io_model_select [ADDRESS]
#include <sys/select.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  const model::Descriptor listener = model::listen_at_argument(argc, argv, SOCK_NONBLOCK);
  std::vector<model::Client> clients;
  for (;;) {
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(listener.get(), &readable);
    int highest = listener.get();
    for (const model::Client& client : clients) {
      FD_SET(client.fd(), client.has_unsent() ? &writable : &readable);
      highest = std::max(highest, client.fd());
    }
    if (select(highest + 1, &readable, &writable, nullptr, nullptr) < 0) {
      if (errno != EINTR) model::die("select");
      continue;
    }
    for (model::Client& client : clients) {
      if (FD_ISSET(client.fd(), &readable) || FD_ISSET(client.fd(), &writable)) client.step();
    }
    std::erase_if(clients, [](const model::Client& client) { return client.is_over(); });
    if (!FD_ISSET(listener.get(), &readable)) continue;
    model::Descriptor client = model::accept_client(listener, SOCK_NONBLOCK);
    if (client.get() >= FD_SETSIZE) {
      std::fprintf(stderr, "a client is turned away: select() can't watch descriptor %d\n", client.get());
    } else if (client) {
      clients.emplace_back(std::move(client));
    }
  }
}
