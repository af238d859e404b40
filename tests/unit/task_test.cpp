#include <gtest/gtest.h>
#include <onloop/task.hpp>

#include <array>
#include <memory>
#include <stdexcept>

namespace onloop {
namespace {

TEST(Task, IsEmptyAtFirst) {
  EXPECT_FALSE(Task{});
  EXPECT_FALSE(Task{nullptr});
}

TEST(Task, OwnsWhatCanOnlyBeMoved) {
  auto value = std::make_unique<int>(41);
  int result = 0;
  Task task = [value = std::move(value), &result] { result = *value + 1; };
  task();
  EXPECT_EQ(result, 42);
}

TEST(Task, MovesWithWhatItHolds) {
  const auto shared = std::make_shared<int>(0);
  std::array<char, 100> large{};
  for (const bool on_heap : {false, true}) {
    Task task = on_heap ? Task([shared, large] { *shared += 1 + large[0]; }) : Task([shared] { ++*shared; });
    Task moved = std::move(task);
    EXPECT_FALSE(task);  // NOLINT(bugprone-use-after-move): a moved-from Task must be empty
    moved();
    Task assigned;
    assigned = std::move(moved);
    assigned();
    EXPECT_EQ(shared.use_count(), 2);
    assigned = nullptr;
    EXPECT_EQ(shared.use_count(), 1);
  }
  EXPECT_EQ(*shared, 4);
}

TEST(Task, LetsExceptionsThrough) {
  Task task = [] { throw std::runtime_error("words"); };
  EXPECT_THROW(task(), std::runtime_error);
}

}  // namespace
}  // namespace onloop
