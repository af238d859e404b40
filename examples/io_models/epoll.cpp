// One wait for all descriptors, by epoll, which remembers them: a turn costs what is ready, not what is open.
//
// What it can't do: anything else. It owns the thread, so a program with an event loop of its own can't have this one
// beside it; and timers, signals, half-close, limits and work from other threads are all still to be written.
//
// io_model_epoll [ADDRESS]
#include "epoll_loop.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  model::EpollLoop loop{model::listen_at_argument(argc, argv, SOCK_NONBLOCK)};
  for (;;) loop.turn(-1);
}
