// An echo service on a hand-written loop for which there is no shim. The five required slots of onloop_ops are enough.
// The core watches a descriptor for its timers and a descriptor for wake-ups from other threads. It watches both
// through these slots.
//
//     echo_on_own_poll_loop [ADDRESS]      default: 127.0.0.1:0; SIGINT or SIGTERM end it
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <onloop/onloop.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace {

// ---- the loop, which knows nothing of onloop ----

struct Handler {
  int fd;
  short events;  // 0: not polled, since poll() reports a hang-up even then
  std::function<void(short revents)> call;
  bool removed = false;
};

struct PollLoop {
  std::vector<std::unique_ptr<Handler>> handlers;  // a removed handler is freed before the next turn, not within a call
  bool running = true;

  Handler& add(int fd, short events, std::function<void(short)> call) {
    return *handlers.emplace_back(std::make_unique<Handler>(Handler{fd, events, std::move(call)}));
  }
  void turn() {
    std::erase_if(handlers, [](const auto& handler) { return handler->removed; });
    std::vector<pollfd> set;
    for (const auto& handler : handlers) set.push_back({handler->events ? handler->fd : -1, handler->events, 0});
    if (poll(set.data(), set.size(), -1) < 0) {
      if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "poll");
      return;
    }
    for (std::size_t i = 0; i < set.size(); ++i) {  // calls may add handlers behind these, and may remove any
      if (set[i].revents && !handlers[i]->removed) handlers[i]->call(set[i].revents);
    }
  }
};

// ---- the table: what onloop asks of a loop ----

struct Attachment {
  PollLoop& loop;
  onloop_guest guest;
};

int attach(const onloop_guest* guest, void* foreign, onloop_loop** loop) {
  if (!foreign) return -EINVAL;  // this table makes no loop; the application owns its loop
  auto* made = new Attachment{*static_cast<PollLoop*>(foreign), {}};
  // The structure of an older onloop is shorter. What it does not have stays null.
  std::memcpy(&made->guest, guest, std::min<std::size_t>(guest->struct_size, sizeof made->guest));
  *loop = reinterpret_cast<onloop_loop*>(made);
  return 0;
}

void detach(onloop_loop* loop) {
  delete reinterpret_cast<Attachment*>(loop);
}

int watch_set(onloop_loop*, onloop_watch* watch, std::uint32_t interest) {
  const int events = ((interest & ONLOOP_READ) ? POLLIN : 0) | ((interest & ONLOOP_WRITE) ? POLLOUT : 0) |
                     ((interest & ONLOOP_PRIORITY) ? POLLPRI : 0);
  reinterpret_cast<Handler*>(watch)->events = static_cast<short>(events);
  return 0;
}

int watch_add(onloop_loop* loop, int fd, std::uint32_t interest, void* watch_context, onloop_watch** watch) {
  const auto& [poll_loop, guest] = *reinterpret_cast<Attachment*>(loop);
  Handler& handler = poll_loop.add(fd, 0, {});
  handler.call = [&handler, watch_context, on_ready = guest.on_ready](int revents) {
    if (revents & (POLLERR | POLLHUP)) revents = POLLIN | POLLOUT | POLLPRI;
    revents &= handler.events;  // an earlier call of this turn may have changed the events
    const auto ready = ((revents & POLLIN) ? ONLOOP_READ : 0u) | ((revents & POLLOUT) ? ONLOOP_WRITE : 0u) |
                       ((revents & POLLPRI) ? ONLOOP_PRIORITY : 0u);
    if (ready) on_ready(watch_context, ready);
  };
  *watch = reinterpret_cast<onloop_watch*>(&handler);
  return watch_set(loop, *watch, interest);
}

void watch_remove(onloop_loop*, onloop_watch* watch) {
  reinterpret_cast<Handler*>(watch)->removed = true;
}

constexpr onloop_ops kOps = [] {
  onloop_ops ops{};  // the optional slots stay null: the core does without them
  ops.version = ONLOOP_OPS_VERSION;
  ops.struct_size = sizeof ops;
  ops.name = "own-poll";
  ops.attach = attach;
  ops.detach = detach;
  ops.watch_add = watch_add;
  ops.watch_set = watch_set;
  ops.watch_remove = watch_remove;
  return ops;
}();

}  // namespace

int main(int argc, char** argv) try {
  PollLoop loop;
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM}) sigaddset(&signals, number);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  loop.add(signalfd(-1, &signals, SFD_CLOEXEC), POLLIN, [&loop](short) { loop.running = false; });

  onloop::Echo echo;
  onloop::Context context{onloop::Loop{kOps, &loop}};
  const onloop::Listener& listener = context.listen(argc > 1 ? argv[1] : "127.0.0.1:0", echo);
  std::printf("listening on %s (own-poll)\n", listener.address().to_string().c_str());
  std::fflush(stdout);
  while (loop.running) loop.turn();
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_on_own_poll_loop: %s\n", error.what());
  return 1;
}
