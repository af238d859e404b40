#include "core/runtime/mailbox.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace onloop::detail {
namespace {

bool readable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&entry, 1, 0) == 1;
}

TEST(Mailbox, SignalsForTheFirstOfManyPosts) {
  Mailbox box;
  EXPECT_FALSE(readable(box.fd()));
  EXPECT_TRUE(box.post([] {}));
  EXPECT_TRUE(readable(box.fd()));
  box.clear();
  EXPECT_TRUE(box.post([] {}));
  EXPECT_FALSE(readable(box.fd())) << "whoever takes the first takes the second as well";
}

// If the write fails, the letter is in the mailbox, but nobody was woken. So the next letter must write again.
TEST(Mailbox, SignalsAgainAfterAWriteThatFailed) {
  using Send = void (*)(Mailbox&);
  for (const Send send : {Send([](Mailbox& box) { EXPECT_TRUE(box.post([] {})); }),
                          Send([](Mailbox& box) { box.wake(); }), Send([](Mailbox& box) { box.note_signal(1); })}) {
    Mailbox box;
    const Descriptor event(dup(box.fd()));
    const Descriptor full(open("/dev/full", O_WRONLY | O_CLOEXEC));  // write(2) fails with ENOSPC
    ASSERT_GE(dup3(full.get(), box.fd(), O_CLOEXEC), 0);
    send(box);
    ASSERT_GE(dup3(event.get(), box.fd(), O_CLOEXEC), 0);
    EXPECT_FALSE(readable(box.fd()));
    send(box);
    EXPECT_TRUE(readable(box.fd()));
  }
}

TEST(Mailbox, RefusesPostsBeyondItsLimitUntilOneIsRun) {
  Mailbox box(2);
  int done = 0;
  EXPECT_TRUE(box.post([&] { ++done; }));
  EXPECT_TRUE(box.post([&] { ++done; }));
  EXPECT_FALSE(box.post([] {}));
  EXPECT_FALSE(box.closed());
  EXPECT_TRUE(box.send(std::make_unique<Mailbox::Letter>([&] { ++done; }))) << "completions are never refused";
  box.take_tasks([&](Task&& task, bool counted) {
    if (counted) box.done_with_one();
    task();
  });
  EXPECT_EQ(done, 3);
  EXPECT_TRUE(box.post([] {}));
  EXPECT_TRUE(box.post([] {}));
  EXPECT_FALSE(box.post([] {}));
  box.close();
  EXPECT_TRUE(box.closed());
}

TEST(Mailbox, KeepsWhatItsTakerCanNotTake) {
  Mailbox box;
  std::vector<int> ran;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(box.post([&ran, i] { ran.push_back(i); }));
  int left = 2;
  EXPECT_THROW(box.take_tasks([&](Task&& task, bool) {
    if (left-- == 0) {
      EXPECT_TRUE(box.post([&ran] { ran.push_back(4); }));
      throw std::bad_alloc();
    }
    task();
  }),
               std::bad_alloc);
  EXPECT_TRUE(readable(box.fd()));
  box.take_tasks([](Task&& task, bool) { task(); });
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Mailbox, GivesTasksInTheOrderOfPosting) {
  Mailbox box;
  std::vector<int> ran;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(box.post([&ran, i] { ran.push_back(i); }));
  box.take_tasks([](Task&& task, bool) { task(); });
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Mailbox, CoalescesWakes) {
  Mailbox box;
  box.wake();
  box.wake();
  EXPECT_TRUE(box.take_wake());
  EXPECT_FALSE(box.take_wake());
}

TEST(Mailbox, DestroysWhatNobodyTook) {
  const auto held = std::make_shared<int>(0);
  {
    Mailbox box;
    EXPECT_TRUE(box.post([held] {}));
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Mailbox, RefusesAfterClose) {
  const auto held = std::make_shared<int>(0);
  Mailbox box;
  EXPECT_TRUE(box.post([held] {}));
  box.close();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(box.post([held] {}));
  EXPECT_FALSE(box.post({}));
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Mailbox, KeepsTheOrderOfEachOfManyThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2'000;
  Mailbox box;
  std::vector<std::vector<int>> ran(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) box.post([&ran, t, i] { ran[static_cast<std::size_t>(t)].push_back(i); });
    });
  }
  std::size_t taken = 0;
  while (taken < std::size_t{kThreads} * kEach) {
    pollfd entry{.fd = box.fd(), .events = POLLIN, .revents = 0};
    poll(&entry, 1, -1);
    box.clear();
    box.take_tasks([&](Task&& task, bool) {
      task();
      ++taken;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<int>& each : ran) {
    for (int i = 0; i < kEach; ++i) ASSERT_EQ(each[static_cast<std::size_t>(i)], i);
  }
}

}  // namespace
}  // namespace onloop::detail
