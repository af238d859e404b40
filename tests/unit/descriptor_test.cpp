#include <fcntl.h>
#include <gtest/gtest.h>
#include <onloop/descriptor.hpp>

#include <type_traits>
#include <utility>

namespace onloop {
namespace {

static_assert(sizeof(Descriptor) == sizeof(int));
static_assert(!std::is_copy_constructible_v<Descriptor> && !std::is_copy_assignable_v<Descriptor>);
static_assert(std::is_nothrow_move_constructible_v<Descriptor> && std::is_nothrow_move_assignable_v<Descriptor>);
static_assert(!std::is_convertible_v<int, Descriptor>, "an int must not become owned by accident");
static_assert(!std::is_convertible_v<Descriptor, bool>);

int open_one() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(Descriptor, ClosesWhatItOwns) {
  int fd = -1;
  {
    const Descriptor owner(open_one());
    fd = owner.get();
    EXPECT_TRUE(owner);
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(Descriptor, IsEmptyAtFirstAndForTheResultOfACallThatFailed) {
  EXPECT_FALSE(Descriptor());
  EXPECT_EQ(Descriptor().get(), -1);
  EXPECT_FALSE(Descriptor(::open("/dev/null/none", O_RDONLY | O_CLOEXEC)));
  EXPECT_TRUE(Descriptor(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)));
}

TEST(Descriptor, OwnsDescriptorZero) {
  const Descriptor former(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 1));
  ASSERT_TRUE(former);
  {
    const Descriptor zero(STDIN_FILENO);
    EXPECT_TRUE(zero);
  }
  EXPECT_FALSE(is_open(STDIN_FILENO));
  EXPECT_EQ(::dup2(former.get(), STDIN_FILENO), STDIN_FILENO);
}

TEST(Descriptor, ReleasesWithoutClosing) {
  Descriptor owner(open_one());
  const Descriptor next(owner.release());
  EXPECT_FALSE(owner);
  EXPECT_TRUE(is_open(next.get()));
  EXPECT_EQ(owner.release(), -1);
}

TEST(Descriptor, ClosesTheFormerOneWhenItIsReset) {
  Descriptor owner(open_one());
  const int first = owner.get();
  const int second = open_one();
  owner.reset(second);
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
  owner.reset();
  EXPECT_FALSE(is_open(second));
  EXPECT_FALSE(owner);
  owner.reset();  // there is nothing to close
}

TEST(Descriptor, MovesTheOwnership) {
  Descriptor first(open_one());
  const int fd = first.get();
  Descriptor second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): a moved-from Descriptor must be empty
  EXPECT_EQ(second.get(), fd);

  Descriptor third(open_one());
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move): as above
  EXPECT_EQ(third.get(), fd);
  EXPECT_FALSE(is_open(replaced)) << "the assignment leaked it";

  Descriptor& same = third;
  third = std::move(same);
  EXPECT_EQ(third.get(), fd);
  EXPECT_TRUE(is_open(fd));
}

}  // namespace
}  // namespace onloop
