#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <onloop/context.hpp>
#include <onloop/descriptor.hpp>

#include <cerrno>
#include <string>
#include <vector>

namespace onloop {
namespace {

using ::testing::HasSubstr;

int nothing = 0;

TEST(Loop, IsHostedInAggregateWhereItIsForeignAndDirectlyWhereItIsOwned) {
  EXPECT_EQ(native().hosting(), Hosting::direct);
  EXPECT_EQ((Loop{native().ops(), &nothing}.hosting()), Hosting::aggregate);
}

TEST(Loop, IsAValueWhoseVariantsLeaveItAlone) {
  const Loop loop = native();
  const Loop changed = loop.aggregate().priority(7);
  EXPECT_EQ(changed.hosting(), Hosting::aggregate);
  EXPECT_EQ(changed.priority(), 7);
  EXPECT_EQ(changed.direct().hosting(), Hosting::direct);
  EXPECT_EQ(changed.direct().priority(), 7);
  EXPECT_EQ(loop.hosting(), Hosting::direct);
  EXPECT_EQ(loop.priority(), std::nullopt);
}

TEST(Loop, EqualsOneOfTheSameTableForeignLoopAndHosting) {
  EXPECT_TRUE(native() == native());
  EXPECT_TRUE(native() == native().aggregate().direct());
  EXPECT_TRUE(native() == native().priority(3)) << "the priority is not compared";
  EXPECT_TRUE(native() != native().aggregate());
  EXPECT_TRUE(native() != native_poll());
  const Loop foreign{native().ops(), &nothing};
  EXPECT_TRUE(foreign != native().aggregate());
  EXPECT_TRUE(foreign == foreign.hosted(Hosting::aggregate));
}

TEST(Loop, IsHostedAsItIsTold) {
  for (const Hosting hosting : {Hosting::direct, Hosting::aggregate}) {
    EXPECT_EQ(native().priority(3).hosted(hosting).hosting(), hosting);
    EXPECT_EQ(native().priority(3).hosted(hosting).priority(), 3);
  }
}

TEST(Loop, APriorityIsRefusedInWordsWhereThereAreNone) {
  try {
    const Context context{native().priority(3)};
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOTSUP);
    EXPECT_THAT(error.what(), HasSubstr("attach to the loop \"native\" with priority 3"));
  }
}

// A shim whose loop is an epoll set inside as many others as the kernel allows: fd is the innermost.
class Nested {
 public:
  Nested() {
    for (int depth = 0; depth < 5; ++depth) {
      sets_.emplace_back(epoll_create1(EPOLL_CLOEXEC));
      epoll_event event{};
      if (depth > 0) epoll_ctl(sets_[sets_.size() - 2].get(), EPOLL_CTL_ADD, sets_.back().get(), &event);
    }
  }
  [[nodiscard]] int innermost() const { return sets_.back().get(); }

 private:
  std::vector<Descriptor> sets_;
};

TEST(Loop, EpollSetsThatNestTooDeepAreAnErrorInWords) {
  Nested nested;
  onloop_ops ops{};
  ops.version = ONLOOP_OPS_VERSION;
  ops.struct_size = sizeof ops;
  ops.name = "nested";
  ops.attach = [](const onloop_guest*, void* foreign, onloop_loop** loop) {
    *loop = static_cast<onloop_loop*>(foreign);
    return 0;
  };
  ops.detach = [](onloop_loop*) {};
  ops.watch_add = [](onloop_loop* loop, int fd, std::uint32_t, void*, onloop_watch**) {
    epoll_event event{};
    event.events = EPOLLIN;
    return epoll_ctl(reinterpret_cast<Nested*>(loop)->innermost(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
  };
  ops.watch_set = [](onloop_loop*, onloop_watch*, std::uint32_t) { return 0; };
  ops.watch_remove = [](onloop_loop*, onloop_watch*) {};
  try {
    const Context context{Loop{ops, &nested}};
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ELOOP);
    EXPECT_THAT(error.what(), HasSubstr("hosted on the loop \"nested\""));
    EXPECT_THAT(error.what(), HasSubstr("nest five deep"));
  }
}

}  // namespace
}  // namespace onloop
