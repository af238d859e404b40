// Blocking calls, and a process for each client. Each process waits only for its own client, and a crash ends only one
// connection.
//
// What it can't do: be cheap. A client costs a fork, and a process with its page tables and kernel stack for as long as
// the client stays. A message costs a switch between processes. The process of one client does not know what the
// process of another client learns.
//
// io_model_process_per_connection [ADDRESS]
#include <sys/types.h>
#include <sys/wait.h>

#include <csignal>
#include <utility>
#include <vector>

#include "echo.hpp"
#include "model.hpp"

namespace {

// Signals are blocked except in accept. So a handler never runs while the program uses this list, and it interrupts no
// function that a handler must not call.
std::vector<pid_t> children;

void on_child_end(int) {
  const int saved = errno;
  for (pid_t pid; (pid = waitpid(-1, nullptr, WNOHANG)) > 0;) std::erase(children, pid);
  errno = saved;
}

void on_end(int) {
  for (const pid_t pid : children) kill(pid, SIGTERM);
  while (waitpid(-1, nullptr, 0) > 0) {
  }
  _exit(0);
}

// Blocks the three signals and sets their handlers. Returns the set of these signals.
sigset_t set_up_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&signals, number);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) model::die("sigprocmask");
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) {
    struct sigaction action {};
    action.sa_handler = number == SIGCHLD ? on_child_end : on_end;
    action.sa_mask = signals;
    if (sigaction(number, &action, nullptr) != 0) model::die("sigaction");
  }
  return signals;
}

[[noreturn]] void be_child(model::Descriptor& listener, model::Descriptor client, const sigset_t& signals) {
  listener.reset();
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) std::signal(number, SIG_DFL);
  sigprocmask(SIG_UNBLOCK, &signals, nullptr);
  model::serve(std::move(client));
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const sigset_t signals = set_up_signals();
  model::Descriptor listener = model::listen_at_argument(argc, argv);
  for (;;) {
    sigprocmask(SIG_UNBLOCK, &signals, nullptr);
    model::Descriptor client = model::accept_client(listener);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    if (!client) continue;
    const pid_t pid = fork();
    if (pid == 0) be_child(listener, std::move(client), signals);
    if (pid > 0) children.push_back(pid);
    if (pid < 0) std::perror("a client is turned away: fork");
  }
}
