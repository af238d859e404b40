#include "children.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace onloop::test {

namespace {

Fd open_pidfd(pid_t pid) {
  return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace

bool has_pidfds() {
  return open_pidfd(::getpid()).get() >= 0;
}

std::string output_of(Context& context, SpawnOptions options) {
  Recorder out;
  Ending ending;
  options.out = Stdio::stream(out);
  const Process process = context.spawn(std::move(options), ending.note());
  EXPECT_TRUE(run_until(context, [&] { return ending.calls == 1 && out.closes == 1; }));
  EXPECT_TRUE(ending.status && ending.status->success()) << (ending.status ? ending.status->to_string() : "no end");
  return out.received;
}

bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void wait_for_end(pid_t pid) {
  const Fd pidfd = open_pidfd(pid);
  EXPECT_GE(pidfd.get(), 0);
  EXPECT_TRUE(readable(pidfd.get(), 10s));
}

}  // namespace onloop::test
