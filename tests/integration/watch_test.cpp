// Watching descriptors of the application.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "drive.hpp"
#include "pipe.hpp"

namespace onloop::test {
namespace {

class Watching : public ContextTest {};
ONLOOP_ON_ALL_LOOPS(Watching);

TEST_P(Watching, APipeCallsWhenItBecomesReadable) {
  const Pipe pipe;
  std::string got;
  Context context{GetParam().make()};
  const Watch watch = context.watch(pipe.in.get(), Interest::read, [&](Interest ready) {
    EXPECT_EQ(ready, Interest::read);
    got += pipe.take();
  });
  EXPECT_TRUE(watch.active());
  turns(context);
  EXPECT_EQ(got, "");
  pipe.put("hello");
  EXPECT_TRUE(run_until(context, [&] { return got == "hello"; }));
}

TEST_P(Watching, APipeThatWasReadableBeforeCallsToo) {
  const Pipe pipe;
  pipe.put();
  int calls = 0;
  Context context{GetParam().make()};
  const Watch watch = context.watch(pipe.in.get(), Interest::read, [&](Interest) { calls += !pipe.take().empty(); });
  EXPECT_EQ(calls, 0) << "never inside watch()";
  EXPECT_TRUE(run_until(context, [&] { return calls == 1; }));
}

TEST_P(Watching, CallsAgainForAsLongAsSomethingIsUnread) {
  const Pipe pipe;
  pipe.put("abc");
  std::string got;
  Context context{GetParam().make()};
  const Watch watch = context.watch(pipe.in.get(), Interest::read, [&](Interest) { got += pipe.take(1); });
  EXPECT_TRUE(run_until(context, [&] { return got == "abc"; }));
}

TEST_P(Watching, BothDirectionsComeOneACallReadFirst) {
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  const Peer peer(std::move(theirs));
  peer.send("x");
  std::vector<Interest> calls;
  Context context{GetParam().make()};
  const Watch watch = context.watch(ours.get(), Interest::both, [&](Interest ready) { calls.push_back(ready); });
  ASSERT_TRUE(run_until(context, [&] { return calls.size() >= 2; }));
  for (const Interest call : calls) EXPECT_TRUE(call == Interest::read || call == Interest::write);
  if (!GetParam().scripted) {  // the scripted loop may report one of two, or one that is not ready
    EXPECT_EQ(calls[0], Interest::read);
    EXPECT_EQ(calls[1], Interest::write);
  }
}

TEST_P(Watching, CancelledInTheReadCallbackDoesNotGetTheWrite) {
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  const Peer peer(std::move(theirs));
  peer.send("x");
  int reads = 0;
  int writes_after = 0;
  Context context{GetParam().make()};
  Watch watch;
  watch = context.watch(ours.get(), Interest::both, [&](Interest ready) {
    if (ready == Interest::read) {
      ++reads;
      watch.cancel();
    } else if (reads > 0) {
      ++writes_after;
    }
  });
  ASSERT_TRUE(run_until(context, [&] { return reads > 0; }));
  turns(context);
  EXPECT_EQ(reads, 1);
  EXPECT_EQ(writes_after, 0);
  EXPECT_FALSE(watch.active());
}

TEST_P(Watching, InterestIsReplaced) {
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  const Peer peer(std::move(theirs));
  int reads = 0;
  int writes = 0;
  Context context{GetParam().make()};
  Watch watch =
      context.watch(ours.get(), Interest::read, [&](Interest ready) { ++(ready == Interest::read ? reads : writes); });
  turns(context);
  EXPECT_EQ(writes, 0);
  watch.set_interest(Interest::write);
  ASSERT_TRUE(run_until(context, [&] { return writes > 0; }));
  const int reads_before = reads;
  peer.send("x");
  turns(context);
  EXPECT_EQ(reads, reads_before);
  watch.set_interest(Interest::read);
  ASSERT_TRUE(run_until(context, [&] { return reads > reads_before; }));
}

TEST_P(Watching, WithoutInterestIsSilentEvenOnAHangUp) {
  Pipe pipe;
  int calls = 0;
  Context context{GetParam().make()};
  Watch watch = context.watch(pipe.in.get(), Interest::read, [&](Interest) { ++calls; });
  watch.set_interest(Interest::none);
  pipe.put();
  pipe.out.reset();
  turns(context);
  EXPECT_EQ(calls, 0);
  if (GetParam().has_fd) {
    EXPECT_FALSE(readable(context.pollable_fd(), 20ms)) << "it spins";
  }
  watch.set_interest(Interest::read);
  EXPECT_TRUE(run_until(context, [&] { return calls > 0; })) << "restored";
}

TEST_P(Watching, AHangUpAloneIsReadable) {
  Pipe pipe;
  bool ended = false;
  Context context{GetParam().make()};
  const Watch watch = context.watch(pipe.in.get(), Interest::read, [&](Interest ready) {
    char byte;
    ended = ended || (ready == Interest::read && ::read(pipe.in.get(), &byte, 1) == 0);
  });
  turns(context);
  pipe.out.reset();
  EXPECT_TRUE(run_until(context, [&] { return ended; }));
}

TEST_P(Watching, AFullPipeCallsForWritingOnlyWhenThereIsRoom) {
  const Pipe pipe;
  const std::string chunk(4096, 'x');
  while (::write(pipe.out.get(), chunk.data(), chunk.size()) > 0) {
  }
  int writable = 0;
  Context context{GetParam().make()};
  const Watch watch = context.watch(pipe.out.get(), Interest::write, [&](Interest) {
    writable += ::write(pipe.out.get(), chunk.data(), chunk.size()) > 0;
  });
  turns(context);
  EXPECT_EQ(writable, 0);
  EXPECT_TRUE(run_until(context, [&] { return pipe.take(), writable > 0; }));
}

TEST_P(Watching, FilesAndDirectoriesAreRefused) {
  const TemporaryDirectory directory;
  const Fd file(::open(directory.file("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const Fd folder(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Context context{GetParam().make()};
  for (const int fd : {file.get(), folder.get()}) {
    const Thrown thrown = thrown_by([&] { return context.watch(fd, Interest::read, [](Interest) {}); });
    EXPECT_TRUE(is(thrown.code, std::errc::operation_not_permitted)) << thrown.words;
  }
}

// The type of this file is a regular file, but epoll(7) accepts it.
TEST_P(Watching, AFileThatEpollTakesIsWatched) {
  const Fd mounts(::open("/proc/self/mounts", O_RDONLY | O_CLOEXEC));
  ASSERT_GE(mounts.get(), 0);
  Context context{GetParam().make()};
  int calls = 0;
  const Watch watch = context.watch(mounts.get(), Interest::read, [&](Interest) { ++calls; });
  EXPECT_TRUE(run_until(context, [&] { return calls > 0; })) << "it can be read";
}

TEST_P(Watching, ADeviceThatEpollRefusesIsRefusedOnEachLoop) {
  const Fd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ASSERT_GE(device.get(), 0);
  Context context{GetParam().make()};
  const Thrown thrown = thrown_by([&] { return context.watch(device.get(), Interest::read, [](Interest) {}); });
  EXPECT_TRUE(is(thrown.code, std::errc::operation_not_permitted)) << thrown.words;
}

TEST_P(Watching, ADescriptorThatIsNotOpenIsRefused) {
  for (const int fd : {-1, 9999}) {
    const Thrown thrown = thrown_by([&] { return context().watch(fd, Interest::read, [](Interest) {}); });
    EXPECT_TRUE(is(thrown.code, std::errc::bad_file_descriptor)) << thrown.words;
  }
}

TEST_P(Watching, AnInterestThatIsNoneIsRefused) {
  const Pipe pipe;
  Context context{GetParam().make()};
  Watch watch = context.watch(pipe.in.get(), Interest::read, [](Interest) {});
  for (const unsigned interest : {8u, 9u, 0x80000000u}) {
    const auto wrong = static_cast<Interest>(interest);
    const Thrown made = thrown_by([&] { return context.watch(pipe.in.get(), wrong, [](Interest) {}); });
    EXPECT_TRUE(is(made.code, std::errc::invalid_argument)) << made.words;
    const Thrown set = thrown_by([&] { return watch.set_interest(wrong), 0; });
    EXPECT_TRUE(is(set.code, std::errc::invalid_argument)) << set.words;
  }
  EXPECT_TRUE(watch.active());
}

TEST_P(Watching, TheSocketOfAConnectionIsNotWatched) {
  Line line = join(context(), recorder_);
  const Thrown thrown =
      thrown_by([&] { return context().watch(line.connection.fd(), Interest::write, [](Interest) {}); });
  EXPECT_TRUE(is(thrown.code, std::errc::file_exists)) << thrown.words;
}

TEST_P(Watching, TheCallbackOwnsWhatCanOnlyBeMoved) {
  const Pipe pipe;
  pipe.put();
  Context context{GetParam().make()};
  int sum = 0;
  auto one = std::make_unique<int>(1);
  auto two = std::make_unique<int>(2);
  auto three = std::make_unique<int>(3);
  Watch watch = context.watch(pipe.in.get(), Interest::read, [&, one = std::move(one)](Interest) {
    if (!pipe.take().empty()) sum += *one;
  });
  Timer every = context.every(1ms, [&, two = std::move(two)] {
    sum += *two;
    every.cancel();
  });
  const Signal signal = context.on_signal(SIGUSR1, [&, three = std::move(three)] { sum += *three; });
  ::raise(SIGUSR1);
  EXPECT_TRUE(run_until(context, [&] { return sum == 6; })) << sum;
}

TEST_P(Watching, LeavesTheDescriptorOpenAndItsFlagsAlone) {
  auto [ours, theirs] = connected_pair(Kind::unix_pair);
  const int before = ::fcntl(ours.get(), F_GETFL);
  {
    Context context{GetParam().make()};
    const Watch watch = context.watch(ours.get(), Interest::both, [](Interest) {});
    turns(context);
    EXPECT_EQ(::fcntl(ours.get(), F_GETFL), before);
  }
  EXPECT_EQ(::fcntl(ours.get(), F_GETFL), before);
}

TEST_P(Watching, MovesAlongAndEndsWithItsOwner) {
  const Pipe pipe;
  int calls = 0;
  Context context{GetParam().make()};
  Watch first = context.watch(pipe.in.get(), Interest::read, [&](Interest) { calls += !pipe.take().empty(); });
  {
    const Watch second = std::move(first);
    EXPECT_FALSE(first.active());  // NOLINT(bugprone-use-after-move): what is promised of it
    EXPECT_TRUE(second.active());
    pipe.put();
    ASSERT_TRUE(run_until(context, [&] { return calls == 1; }));
  }
  pipe.put();
  turns(context);
  EXPECT_EQ(calls, 1);
}

TEST_P(Watching, MayReplaceItselfInItsOwnCallback) {
  const Pipe first;
  const Pipe second;
  first.put();
  second.put();
  std::string order;
  Context context{GetParam().make()};
  Watch watch;
  watch = context.watch(first.in.get(), Interest::read, [&](Interest) {
    const std::string captured(100, '1');  // the callable must live until it returns
    watch = context.watch(second.in.get(), Interest::read, [&](Interest) {
      if (!second.take().empty()) order += '2';
    });
    order += captured[99];
  });
  ASSERT_TRUE(run_until(context, [&] { return order.size() >= 2; }));
  turns(context);
  EXPECT_EQ(order, "12");
}

TEST_P(Watching, TwoReadyOnesCancelEachOtherAndOneCallComes) {
  const Pipe first;
  const Pipe second;
  int calls = 0;
  Context context{GetParam().make()};
  Watch one;
  Watch two;
  one = context.watch(first.in.get(), Interest::read, [&](Interest) {
    ++calls;
    two.cancel();
    one.cancel();
  });
  two = context.watch(second.in.get(), Interest::read, [&](Interest) {
    ++calls;
    one.cancel();
    two.cancel();
  });
  first.put();
  second.put();
  ASSERT_TRUE(run_until(context, [&] { return calls > 0; }));
  turns(context);
  EXPECT_EQ(calls, 1);
}

TEST_P(Watching, ANumberThatIsUsedAgainGetsNoStaleCall) {
  auto first = std::make_unique<Pipe>();
  const Pipe trigger;
  int stale = 0;
  int fresh = 0;
  std::unique_ptr<Pipe> again;
  Context context{GetParam().make()};
  Watch old = context.watch(first->in.get(), Interest::read, [&](Interest) {});
  Watch renewed;
  const int number = first->in.get();
  // Both are ready in one batch: whichever comes first, nothing of the old pipe may reach the new watch.
  Watch cause = context.watch(trigger.in.get(), Interest::read, [&](Interest) {
    if (trigger.take().empty()) return;
    old.cancel();
    first.reset();
    again = std::make_unique<Pipe>();
    ASSERT_EQ(again->in.get(), number);
    renewed = context.watch(number, Interest::read, [&](Interest) { ++(again->take().empty() ? stale : fresh); });
  });
  trigger.put();
  first->put();
  ASSERT_TRUE(run_until(context, [&] { return renewed.active(); }));
  turns(context);
  if (!GetParam().scripted) {
    EXPECT_EQ(stale, 0);  // a loop with spurious wake-ups may call without a cause
  }
  again->put();
  EXPECT_TRUE(run_until(context, [&] { return fresh == 1; }));
}

TEST_P(Watching, IsInertBeyondItsContext) {
  const Pipe pipe;
  Watch watch;
  {
    Context context{GetParam().make()};
    watch = context.watch(pipe.in.get(), Interest::read, [](Interest) {});
  }
  EXPECT_FALSE(watch.active());
  watch.cancel();
  const Watch moved = std::move(watch);
  EXPECT_FALSE(moved.active());
}

}  // namespace
}  // namespace onloop::test
