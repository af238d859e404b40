// A wait for events fails because the kernel is short of memory. The service must go on. The functions that fail
// replace those of the C library, in this program and in the hosts that it is linked to.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

constinit int wait_error = 0;
constinit int failures_left = 0;
constinit int failures = 0;

bool fails() {
  if (failures_left == 0) return false;
  --failures_left;
  ++failures;
  errno = wait_error;
  return true;
}

}  // namespace

extern "C" {
int epoll_wait(int set, epoll_event* events, int most, int timeout) {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_epoll_pwait, set, events, most, timeout, nullptr, 8));
}
int epoll_pwait2(int set, epoll_event* events, int most, const timespec* timeout, const sigset_t* mask) {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_epoll_pwait2, set, events, most, timeout, mask, 8));
}
int poll(pollfd* descriptors, nfds_t count, int timeout) {
  return fails() ? -1 : static_cast<int>(::syscall(SYS_poll, descriptors, count, timeout));
}
int ppoll(pollfd* descriptors, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  if (fails()) return -1;
  timespec left = timeout ? *timeout : timespec{};  // the kernel writes to it
  return static_cast<int>(::syscall(SYS_ppoll, descriptors, count, timeout ? &left : nullptr, mask, 8));
}
}

namespace {

std::uint64_t processor_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

/// All loops except libuv, which ends the process if its wait fails.
std::vector<LoopCase> loops_that_wait() {
  std::vector<LoopCase> loops;
  for (const LoopCase& loop : all_loops()) {
    if (!loop.scripted && loop.name.rfind("libuv", 0) != 0) loops.push_back(loop);
  }
  return loops;
}

class FailingWait : public LoopTest {
 protected:
  void TearDown() override {
    failures_left = 0;
    LoopTest::TearDown();
  }
};
ONLOOP_ON_LOOPS(FailingWait, loops_that_wait());

TEST_P(FailingWait, ATransientErrorDoesNotEndTheService) {
  Echo echo;
  Context context{GetParam().make()};
  Line line = join(context, echo);
  turns(context);
  for (const int error : {ENOMEM, EAGAIN, EINTR}) {
    for (const int times : {1, 10}) {
      wait_error = error;
      failures_left = times;
      failures = 0;
      std::string all = line.peer.received();
      line.peer.send("ping");
      all += "ping";
      EXPECT_TRUE(run_until(context, [&] { return line.peer.read(), line.peer.received() == all; })) << error;
      EXPECT_TRUE(run_until(context, [&] { return failures == times; })) << error;
    }
  }
}

TEST_P(FailingWait, AnErrorThatLastsDoesNotKeepTheProcessorBusy) {
  Context context{GetParam().make()};
  turns(context);
  wait_error = ENOMEM;
  failures_left = 30;
  failures = 0;
  const std::uint64_t before = processor_time();
  EXPECT_TRUE(run_until(context, [&] { return failures == 30; }));
  EXPECT_LT(processor_time() - before, 200'000'000u) << "of at least 300 ms";
}

}  // namespace
}  // namespace onloop::test
