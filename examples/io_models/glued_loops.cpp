// Two event loops in one thread. The program waits for each in turn, with short time-outs. Don't do this.
//
// The first loop is the echo of epoll.cpp. The second is the application's loop, with a timer of 250 ms. Each loop
// alone works well. Glued together, each loop sleeps while the other has events. A message that comes while the
// application waits is answered up to kPatience later, and an idle program wakes up all the time. A shorter time-out
// makes the answers faster, but costs more wake-ups. With a time-out of zero the program spins.
//
// What it can't do: answer at once and also sleep. For that, one wait must cover both loops.
//
// io_model_glued_loops [ADDRESS]
#include <poll.h>
#include <sys/timerfd.h>

#include <cstdint>

#include "epoll_loop.hpp"
#include "model.hpp"

namespace {

constexpr int kPatience = 10;        // how long each loop waits, in milliseconds
constexpr long kTick = 250'000'000;  // nanoseconds

// The application's loop, on poll(). It only receives its ticks.
class TickLoop {
 public:
  TickLoop() {
    const itimerspec period{{0, kTick}, {0, kTick}};
    if (!timer_ || timerfd_settime(timer_.get(), 0, &period, nullptr) != 0) model::die("timerfd");
  }

  void turn(int timeout_ms) {
    pollfd watched{timer_.get(), POLLIN, 0};
    const int count = poll(&watched, 1, timeout_ms);
    if (count < 0 && errno != EINTR) model::die("poll");
    std::uint64_t ticks = 0;
    if (count > 0 && read(timer_.get(), &ticks, sizeof ticks) != sizeof ticks) model::die("timerfd");
  }

 private:
  model::Descriptor timer_{timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
};

}  // namespace

int main(int argc, char** argv) {
  model::end_on_signal();
  model::EpollLoop echo{model::listen_at_argument(argc, argv, SOCK_NONBLOCK)};
  TickLoop application;
  for (;;) {
    echo.turn(kPatience);
    application.turn(kPatience);
  }
}
