// One wait for all descriptors, by epoll. The kernel remembers the descriptors. So the cost of a turn grows with the
// ready descriptors, not with the open ones.
//
// What it can't do: anything else. The loop owns the thread, so a program can't have it beside an event loop of its
// own. Timers, signals, half-close, limits and work from other threads are all still to be written.
//
// io_model_epoll [ADDRESS]
#include "epoll_loop.hpp"
#include "model.hpp"

int main(int argc, char** argv) {
  model::end_on_signal();
  model::EpollLoop loop{model::listen_at_argument(argc, argv, SOCK_NONBLOCK)};
  for (;;) loop.turn(-1);
}
