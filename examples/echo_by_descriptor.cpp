// An echo service in an application that has an epoll loop of its own. No shim is used. The context is one descriptor,
// which the application watches for reading. When the descriptor is readable, the application calls dispatch().
//
//     echo_by_descriptor [ADDRESS]      default: 127.0.0.1:0; SIGINT or SIGTERM end it
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <onloop/onloop.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <system_error>

int main(int argc, char** argv) try {
  // The application's loop: an epoll set with a descriptor for signals.
  const onloop::Descriptor set(epoll_create1(EPOLL_CLOEXEC));
  const auto watch = [&set](int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw std::system_error(errno, std::generic_category(), "watch");
  };
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const onloop::Descriptor signal_fd(signalfd(-1, &signals, SFD_CLOEXEC));
  watch(signal_fd.get());

  // The service. The loop knows nothing of it except pollable_fd().
  onloop::Echo echo;
  onloop::Context context{onloop::native()};
  const onloop::Listener& listener = context.listen(argc > 1 ? argv[1] : "127.0.0.1:0", echo);
  watch(context.pollable_fd());
  std::printf("listening on %s (native)\n", listener.address().to_string().c_str());
  std::fflush(stdout);

  for (bool running = true; running;) {
    epoll_event event{};
    if (epoll_wait(set.get(), &event, 1, -1) < 1) {
      if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "epoll_wait");
      continue;
    }
    if (event.data.fd == context.pollable_fd()) context.dispatch();
    if (event.data.fd == signal_fd.get()) running = false;
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_by_descriptor: %s\n", error.what());
  return 1;
}
