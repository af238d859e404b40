// Watching descriptors that are neither sockets nor pipes: terminals, inotify, and counters and timers of the kernel.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <vector>

#include "drive.hpp"

namespace onloop::test {
namespace {

class WatchingKinds : public LoopTest {};
ONLOOP_ON_ALL_LOOPS(WatchingKinds);

Fd opened(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return Fd(fd);
}

std::string read_some(int fd) {
  std::string text(4096, '\0');
  const ssize_t n = ::read(fd, text.data(), text.size());
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

void write_all(int fd, std::string_view text) {
  ASSERT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

/// A pseudo-terminal in raw mode: our end is the one of a terminal program, theirs the one of a serial line.
struct Terminal {
  Terminal() : ours(opened(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), "posix_openpt")) {
    if (::unlockpt(ours.get()) != 0) throw std::system_error(errno, std::generic_category(), "unlockpt");
    open_theirs();
    termios settings{};
    ::tcgetattr(theirs.get(), &settings);
    ::cfmakeraw(&settings);
    ::tcsetattr(theirs.get(), TCSANOW, &settings);
  }
  void open_theirs() {
    theirs = opened(::open(::ptsname(ours.get()), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), "open a terminal");
  }
  Fd ours;
  Fd theirs;
};

/// The names of what has changed in a directory.
struct Inotify {
  explicit Inotify(const TemporaryDirectory& directory)
      : fd(opened(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1")) {
    if (::inotify_add_watch(fd.get(), directory.path().c_str(), IN_CREATE | IN_DELETE) < 0) {
      throw std::system_error(errno, std::generic_category(), "inotify_add_watch");
    }
  }
  [[nodiscard]] std::string take() const {
    alignas(inotify_event) char buffer[4096];
    const ssize_t count = ::read(fd.get(), buffer, sizeof buffer);
    std::string names;
    for (ssize_t at = 0; at < count;) {
      const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
      names += (event.mask & IN_CREATE) != 0 ? '+' : '-';
      names += event.name;
      at += static_cast<ssize_t>(sizeof event + event.len);
    }
    return names;
  }
  Fd fd;
};

std::uint64_t take_count(int fd) {
  std::uint64_t count = 0;
  return ::read(fd, &count, sizeof count) == sizeof count ? count : 0;
}

void arm(int timer, std::chrono::nanoseconds delay) {
  itimerspec when{};
  when.it_value.tv_nsec = delay.count();
  ASSERT_EQ(::timerfd_settime(timer, 0, &when, nullptr), 0);
}

void touch(const std::string& path) {
  const Fd file = opened(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), "touch");
}

TEST_P(WatchingKinds, BothEndsOfATerminal) {
  const Terminal terminal;
  std::string got;
  std::string answered;
  Context context{GetParam().make()};
  const Watch ours = context.watch(terminal.ours.get(), Interest::read, [&](Interest) {
    const std::string text = read_some(terminal.ours.get());
    got += text;
    if (!text.empty()) write_all(terminal.ours.get(), "to " + text);
  });
  const Watch theirs = context.watch(terminal.theirs.get(), Interest::read,
                                     [&](Interest) { answered += read_some(terminal.theirs.get()); });
  turns(context);
  EXPECT_EQ(got + answered, "");
  write_all(terminal.theirs.get(), "hello");
  EXPECT_TRUE(run_until(context, [&] { return got == "hello" && answered == "to hello"; }));
}

// Some time after a write, the kernel moves the bytes to the buffer of the reader. Then there is room again. So the
// terminal is full only when the buffer of the reader is full, too, and then the first buffer is full once more.
void fill(const Terminal& terminal) {
  constexpr int kReadersBuffer = 4095;  // N_TTY_BUF_SIZE - 1
  const std::string chunk(256, 'x');
  int moved = 0;
  do {
    EXPECT_TRUE(readable(terminal.theirs.get(), 10s));
    ASSERT_EQ(::ioctl(terminal.theirs.get(), FIONREAD, &moved), 0);
    while (::write(terminal.ours.get(), chunk.data(), chunk.size()) > 0) {
    }
  } while (moved < kReadersBuffer);
}

TEST_P(WatchingKinds, ATerminalThatIsFullCallsForWritingOnceItWasRead) {
  const Terminal terminal;
  ASSERT_EQ(::write(terminal.ours.get(), "x", 1), 1);
  fill(terminal);
  int written = 0;
  Context context{GetParam().make()};
  const Watch watch = context.watch(terminal.ours.get(), Interest::write,
                                    [&](Interest) { written += ::write(terminal.ours.get(), "y", 1) == 1; });
  turns(context);
  EXPECT_EQ(written, 0);
  EXPECT_TRUE(run_until(context, [&] { return static_cast<void>(read_some(terminal.theirs.get())), written > 0; }));
}

TEST_P(WatchingKinds, ATerminalThatIsHungUpIsReadableSilentOnRequestAndComesBack) {
  Terminal terminal;
  int error = 0;
  std::string got;
  Context context{GetParam().make()};
  Watch watch = context.watch(terminal.ours.get(), Interest::read, [&](Interest) {
    char byte;
    const ssize_t count = ::read(terminal.ours.get(), &byte, 1);
    if (count == 1) got += byte;
    if (count < 0 && errno != EAGAIN) error = errno;
  });
  turns(context);
  EXPECT_EQ(error, 0);
  terminal.theirs.reset();
  ASSERT_TRUE(run_until(context, [&] { return error != 0; }));
  EXPECT_EQ(error, EIO) << "what Linux says of a line that nobody has open";
  watch.set(Interest::none);
  error = 0;
  turns(context);
  EXPECT_EQ(error, 0);
  if (GetParam().has_fd) {
    EXPECT_FALSE(readable(context.pollable_fd(), 20ms)) << "it spins";
  }
  terminal.open_theirs();
  watch.set(Interest::read);
  write_all(terminal.theirs.get(), "x");
  EXPECT_TRUE(run_until(context, [&] { return got == "x"; }));
}

TEST_P(WatchingKinds, ChangesInADirectory) {
  const TemporaryDirectory directory;
  const Inotify inotify(directory);
  std::string got;
  Context context{GetParam().make()};
  const Watch watch = context.watch(inotify.fd.get(), Interest::read, [&](Interest) { got += inotify.take(); });
  turns(context);
  EXPECT_EQ(got, "");
  touch(directory.file("one"));
  EXPECT_TRUE(run_until(context, [&] { return got == "+one"; }));
  touch(directory.file("two"));
  ::unlink(directory.file("one").c_str());
  EXPECT_TRUE(run_until(context, [&] { return got == "+one+two-one"; }));
  ::unlink(directory.file("two").c_str());
}

TEST_P(WatchingKinds, ACounterAndATimerOfTheKernels) {
  const Fd counter = opened(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
  const Fd timer = opened(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
  std::uint64_t counted = 0;
  std::uint64_t expired = 0;
  Context context{GetParam().make()};
  const Watch on_counter =
      context.watch(counter.get(), Interest::read, [&](Interest) { counted += take_count(counter.get()); });
  const Watch on_timer =
      context.watch(timer.get(), Interest::read, [&](Interest) { expired += take_count(timer.get()); });
  turns(context);
  EXPECT_EQ(counted + expired, 0U);
  ASSERT_EQ(::eventfd_write(counter.get(), 7), 0);
  arm(timer.get(), 1ms);
  EXPECT_TRUE(run_until(context, [&] { return counted == 7 && expired == 1; }));
}

TEST_P(WatchingKinds, AllOfThemBesideEchoBeforeAndAfterACutover) {
  const Terminal terminal;
  const TemporaryDirectory directory;
  const Inotify inotify(directory);
  const Fd timer = opened(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create");
  std::string typed;
  std::string changed;
  std::uint64_t expired = 0;
  Echo echo;
  Context context{GetParam().make()};
  Line line = join(context, echo);
  const Watch on_terminal =
      context.watch(terminal.ours.get(), Interest::read, [&](Interest) { typed += read_some(terminal.ours.get()); });
  const Watch on_directory =
      context.watch(inotify.fd.get(), Interest::read, [&](Interest) { changed += inotify.take(); });
  const Watch on_timer =
      context.watch(timer.get(), Interest::read, [&](Interest) { expired += take_count(timer.get()); });
  for (const std::string round : {"1", "2"}) {
    typed = changed = "";
    expired = 0;
    write_all(terminal.theirs.get(), round);
    touch(directory.file(round));
    arm(timer.get(), 1ms);
    line.peer.send(round);
    const std::string before = line.peer.received();
    EXPECT_TRUE(run_until(context, [&] {
      line.peer.read();
      return typed == round && changed == "+" + round && expired == 1 && line.peer.received() == before + round;
    }));
    changed = "";
    ::unlink(directory.file(round).c_str());
    EXPECT_TRUE(run_until(context, [&] { return changed == "-" + round; }));
    context.move_to(native());
  }
}

// libevent 2.1 has no event for priority data. With aggregate hosting, it does not need one.
bool knows_priority(const LoopCase& loop) {
  return loop.name != "libevent_direct";
}

TEST_P(WatchingKinds, UrgentDataOfATcpConnectionIsPriority) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Context context{GetParam().make()};
  std::string calls;
  const auto callback = [&, fd = ours.get()](Interest ready) {
    char byte = 0;
    if (ready == Interest::priority) {
      if (::recv(fd, &byte, 1, MSG_OOB) == 1) calls += byte;
    } else if (::recv(fd, &byte, 1, MSG_DONTWAIT) == 1) {
      calls += byte;
    }
  };
  if (!knows_priority(GetParam())) {
    const Thrown thrown =
        thrown_by([&, &ours = ours] { return context.watch(ours.get(), Interest::priority, callback); });
    EXPECT_TRUE(is(thrown.code, std::errc::invalid_argument)) << thrown.words;
    Watch watch = context.watch(ours.get(), Interest::read, callback);
    const Thrown changed = thrown_by([&] { return watch.set_interest(Interest::read | Interest::priority), 0; });
    EXPECT_TRUE(is(changed.code, std::errc::invalid_argument)) << changed.words;
    ASSERT_EQ(::send(theirs.get(), "r", 1, 0), 1);
    EXPECT_TRUE(run_until(context, [&] { return calls == "r"; })) << "it is watched as before";
    return;
  }
  Watch watch = context.watch(ours.get(), Interest::priority, callback);
  ASSERT_EQ(::send(theirs.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(run_until(context, [&] { return calls == "!"; }));
  ASSERT_EQ(::send(theirs.get(), "r", 1, 0), 1);
  turns(context);
  EXPECT_EQ(calls, "!") << "only what is asked for";
  watch.set_interest(Interest::read | Interest::priority);
  ASSERT_TRUE(run_until(context, [&] { return calls == "!r"; }));
  const Watch second =
      context.watch(ours.get(), Interest::priority, [](Interest ready) { EXPECT_EQ(ready, Interest::priority); });
  ASSERT_EQ(::send(theirs.get(), "2", 1, MSG_OOB), 1);
  EXPECT_TRUE(run_until(context, [&] { return calls == "!r2"; }));
}

TEST_P(WatchingKinds, PriorityMovesOnlyToALoopThatKnowsIt) {
  auto [ours, theirs] = connected_pair(Kind::tcp);
  Context context{native()};
  std::string calls;
  const Watch watch = context.watch(ours.get(), Interest::priority, [&, fd = ours.get()](Interest) {
    char byte = 0;
    if (::recv(fd, &byte, 1, MSG_OOB) == 1) calls += byte;
  });
  const Thrown thrown = thrown_by([&] { return context.move_to(GetParam().make()); });
  EXPECT_EQ(!thrown.code, knows_priority(GetParam())) << thrown.words;
  ASSERT_EQ(::send(theirs.get(), "!", 1, MSG_OOB), 1);
  EXPECT_TRUE(run_until(context, [&] { return calls == "!"; }));
}

}  // namespace
}  // namespace onloop::test
