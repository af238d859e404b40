// A loop that cannot be made is an error. If a context cannot start on a loop, its constructor fails. If a context
// cannot move to a loop, it stays where it was. Each step that the kernel can refuse is tested. For this, the program
// replaces functions of the C library, for itself and for the hosts that it is linked to. The program makes no loop
// before the tests do, because libuv opens more for the first loop of a process.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <onloop/loop_by_name.hpp>

#include <cerrno>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

/// Which of the calls below fails: one call, counted over all of them, or every call of one kind, as with a filter of
/// system calls. Nobody can foresee that a kind begins to fail for good between the trial of a shim and the own call of
/// the host.
struct Fault {
  int error = 0;      // 0: no call fails
  int countdown = 0;  // calls until the one that fails
  long kind = 0;      // if not 0: the system call that always fails, instead of the countdown
  int failures = 0;
};
constinit Fault fault;

bool fails(long number) {
  if (fault.error == 0 || (fault.kind ? fault.kind != number : fault.countdown-- != 0)) return false;
  ++fault.failures;
  errno = fault.error;
  return true;
}

template <class... Arguments>
int ask_kernel(long number, Arguments... arguments) {
  return fails(number) ? -1 : static_cast<int>(::syscall(number, arguments...));
}

}  // namespace

extern "C" {
int epoll_create1(int flags) noexcept {
  return ask_kernel(SYS_epoll_create1, flags);
}
int eventfd(unsigned count, int flags) noexcept {
  return ask_kernel(SYS_eventfd2, count, flags);
}
int pipe(int ends[2]) noexcept {
  return ask_kernel(SYS_pipe2, ends, 0);
}
int pipe2(int ends[2], int flags) noexcept {
  return ask_kernel(SYS_pipe2, ends, flags);
}
int socketpair(int family, int kind, int protocol, int ends[2]) noexcept {
  return ask_kernel(SYS_socketpair, family, kind, protocol, ends);
}
int timerfd_create(int clock, int flags) noexcept {
  return ask_kernel(SYS_timerfd_create, clock, flags);
}
// Only a new descriptor in the set needs something that the kernel may not have. So only an addition can fail.
int epoll_ctl(int set, int operation, int fd, epoll_event* event) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_epoll_ctl, set, operation, fd, event));
  if (result < 0 || operation != EPOLL_CTL_ADD || !fails(SYS_epoll_ctl)) return result;
  ::syscall(SYS_epoll_ctl, set, EPOLL_CTL_DEL, fd, event);
  errno = fault.error;
  return -1;
}
}

namespace {

struct Target {
  std::string name;
  Hosting hosting = Hosting::direct;
  [[nodiscard]] Loop loop() const {
    const Loop found = loop_by_name(name);
    return hosting == Hosting::aggregate ? found.aggregate() : found.direct();
  }
};

void PrintTo(const Target& target, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << target.name;
}

std::vector<Target> targets() {
  std::vector<Target> all{{"native"}, {"native-poll"}};
  std::istringstream shims{ONLOOP_SHIMS};
  for (std::string name; shims >> name;) {
    all.push_back({name, Hosting::aggregate});
    all.push_back({name, Hosting::direct});
  }
  return all;
}

std::string target_name(const ::testing::TestParamInfo<Target>& info) {
  std::string name = info.param.name + (info.param.hosting == Hosting::aggregate ? "_aggregate" : "_direct");
  for (char& letter : name) letter = letter == '-' ? '_' : letter;
  return name;
}

/// A context with an echo connection. Everything that it needs exists already.
class Served {
 public:
  explicit Served(const Loop& loop) : context_(loop), line_(join(context_, echo_)) {}
  [[nodiscard]] Context& context() { return context_; }
  [[nodiscard]] bool serves() {
    line_.peer.send("ping");
    sent_ += "ping";
    return static_cast<bool>(run_until(context_, [&] { return line_.peer.read(), line_.peer.received() == sent_; }));
  }

 private:
  Echo echo_;
  Context context_;
  Line line_;
  std::string sent_;
};

class RefusedLoop : public CleanTestWithParam<Target> {
 protected:
  /// Calls `make` again and again. In each call another step fails, until no step is left. Then, for each kind, all
  /// steps of this kind fail. `make` calls end_fault(), and returns the error, or none.
  template <class Make>
  static void fail_each_step(int error, Make make) {
    constexpr int kMostSteps = 200;
    int step = 0;
    while (step < kMostSteps && fail_once({.error = error, .countdown = step}, make) > 0) ++step;
    EXPECT_LT(step, kMostSteps);
    for (const long kind :
         {SYS_epoll_create1, SYS_eventfd2, SYS_pipe2, SYS_timerfd_create, SYS_socketpair, SYS_epoll_ctl}) {
      fail_once({.error = error, .kind = kind}, make);
    }
  }

  /// After this, no call fails any more.
  static void end_fault() { fault.error = 0; }

 private:
  template <class Make>
  static int fail_once(const Fault& made, Make make) {
    const ProcessState before = ProcessState::take();
    fault = made;
    const std::error_code thrown = make();
    end_fault();
    if (thrown) {
      EXPECT_TRUE(is(thrown, static_cast<std::errc>(made.error))) << thrown.message();
    }
    EXPECT_EQ(before.difference_to(ProcessState::take()), "") << "step " << made.countdown << ", kind " << made.kind;
    return fault.failures;
  }
};
INSTANTIATE_TEST_SUITE_P(Loops, RefusedLoop, ::testing::ValuesIn(targets()), target_name);

/// Tests with a loop that is not the first of its kind in the process. libuv makes and keeps a pipe for the first one.
class RefusedStep : public RefusedLoop {
 protected:
  void SetUp() override {
    { const Context first{GetParam().loop()}; }
    RefusedLoop::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(Loops, RefusedStep, ::testing::ValuesIn(targets()), target_name);

constexpr int kErrors[] = {ENOMEM, ENFILE, EMFILE, EPERM, ENOSPC};

// libuv ended the process when its signal pipe could not be made.
TEST_P(RefusedLoop, TheFirstInAProcessIsRefusedWhateverNumberOfDescriptorsIsLeft) {
  EXPECT_TRUE(in_child([] {
    constexpr rlim_t kMost = 64;
    bool made = false;
    for (rlim_t left = 0; !made && left < kMost; ++left) {
      const ProcessState before = ProcessState::take();
      {
        const DescriptorsLeft limit(left);
        const std::error_code error = thrown_by([&] { return Context{GetParam().loop()}, 0; }).code;
        made = !error;
        EXPECT_TRUE(made || is(error, std::errc::too_many_files_open)) << error.message();
      }
      if (!made) {
        EXPECT_EQ(before.difference_to(ProcessState::take()), "") << left << " descriptors left";
      }
    }
    EXPECT_TRUE(made);
  }));
}

TEST_P(RefusedLoop, AMoveIsRefusedWhateverNumberOfDescriptorsIsLeft) {
  EXPECT_TRUE(in_child([] {
    Served served(native());
    constexpr rlim_t kMost = 64;
    bool moved = GetParam().name == "native";
    for (rlim_t left = 0; !moved && left < kMost; ++left) {
      const ProcessState before = ProcessState::take();
      {
        const DescriptorsLeft limit(left);
        const std::error_code error = thrown_by([&] { return served.context().move_to(GetParam().loop()), 0; }).code;
        moved = !error;
        EXPECT_TRUE(moved || is(error, std::errc::too_many_files_open)) << error.message();
      }
      if (!moved) {
        EXPECT_EQ(before.difference_to(ProcessState::take()), "") << left << " descriptors left";
      }
      EXPECT_TRUE(served.serves()) << left << " descriptors left";
    }
    EXPECT_TRUE(moved);
  }));
}

TEST_P(RefusedStep, EachStepOfAStartMayFailWithAnyError) {
  for (const int error : kErrors) {
    EXPECT_TRUE(in_child([&] {
      fail_each_step(error, [] { return thrown_by([] { return Context{GetParam().loop()}, 0; }).code; });
    })) << "error "
        << error;
  }
}

// A refused move to libuv once left an epoll set open, except after EMFILE and ENFILE.
TEST_P(RefusedStep, EachStepOfAMoveMayFailWithAnyError) {
  for (const int error : kErrors) {
    for (const Loop& home : {native(), native_poll()}) {
      EXPECT_TRUE(in_child([&] {
        Served served(home);
        EXPECT_TRUE(served.serves());
        fail_each_step(error, [&] {
          const std::error_code thrown = thrown_by([&] { return served.context().move_to(GetParam().loop()), 0; }).code;
          end_fault();
          EXPECT_TRUE(served.serves());
          served.context().move_to(home);
          EXPECT_TRUE(served.serves());
          return thrown;
        });
      })) << "error "
          << error << ", from " << home.name();
    }
  }
}

// What fails in a forked child may be tried again.
TEST_P(RefusedStep, EachStepOfAfterForkMayFail) {
  constexpr int kSteps = 12;
  Served served(GetParam().loop());
  EXPECT_TRUE(served.serves());
  served.context().release_thread();
  for (int step = 0; step < kSteps; ++step) {
    EXPECT_TRUE(in_child([&] {
      fault = {.error = ENOMEM, .countdown = step};
      const std::error_code thrown = thrown_by([&] { return served.context().after_fork(GetParam().loop()), 0; }).code;
      end_fault();
      if (thrown) {
        EXPECT_TRUE(is(thrown, std::errc::not_enough_memory)) << thrown.message();
        served.context().after_fork(GetParam().loop());
      }
      EXPECT_TRUE(served.serves());
    })) << "step "
        << step;
  }
  EXPECT_TRUE(served.serves());
}

}  // namespace
}  // namespace onloop::test
