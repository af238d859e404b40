// A toy event loop. It has an epoll set for each descriptor and asks each set in turn with a time-out of zero. It has
// the shape of an event loop: one thread, and a dispatch of what is ready. It serves all clients.
//
// What it can't do: sleep. A wait that covers one descriptor must not block, since the others would starve. So no wait
// blocks. The program uses all of a core and two descriptors for each client, and gets slower with more clients. Its
// sockets block and it keeps no unsent bytes, as is usual in toys. A send waits until the client reads, and all other
// clients wait too.
//
// io_model_poller_per_descriptor [ADDRESS]
#include <sys/epoll.h>

#include <cstddef>
#include <utility>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

namespace {

struct Watcher {
  explicit Watcher(model::Descriptor descriptor) : socket(std::move(descriptor)), poller(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (!poller || epoll_ctl(poller.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) model::die("epoll");
  }

  [[nodiscard]] bool is_ready() const {
    epoll_event event{};
    const int count = epoll_wait(poller.get(), &event, 1, 0);
    if (count < 0 && errno != EINTR) model::die("epoll_wait");
    return count > 0;
  }

  model::Descriptor socket;
  model::Descriptor poller;
};

}  // namespace

int main(int argc, char** argv) {
  model::end_on_signal();
  const Watcher listener{model::listen_at_argument(argc, argv)};
  std::vector<Watcher> clients;
  for (;;) {
    if (listener.is_ready()) {
      model::Descriptor client = model::accept_client(listener.socket);
      if (client) clients.emplace_back(std::move(client));
    }
    std::erase_if(clients,
                  [](const Watcher& client) { return client.is_ready() && !model::echo_once(client.socket.get()); });
  }
}
