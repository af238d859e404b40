#include <gtest/gtest.h>
#include <onloop/function.hpp>
#include <onloop/task.hpp>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace onloop {
namespace {

static_assert(std::is_same_v<Task, Function<void()>>);
static_assert(sizeof(Task) == 4 * sizeof(void*));
static_assert(sizeof(Function<int(std::string, int)>) == sizeof(Task));
static_assert(!std::is_copy_constructible_v<Task>);
static_assert(std::is_nothrow_move_constructible_v<Task> && std::is_nothrow_move_assignable_v<Task>);
static_assert(!std::is_constructible_v<Function<void()>, void (*)(int)>, "it takes an argument that there is not");
static_assert(!std::is_constructible_v<Function<int()>, void (*)()>, "it gives no result");
static_assert(std::is_constructible_v<Function<void()>, int (*)()>, "the result is dropped");

int twice(int number) {
  return 2 * number;
}

TEST(Function, TakesArgumentsAndGivesAResult) {
  Function<std::size_t(std::string_view, int)> count = [](std::string_view text, int more) {
    return text.size() + static_cast<std::size_t>(more);
  };
  EXPECT_EQ(count("four", 3), 7u);
  Function<int(int)> plain = twice;
  EXPECT_EQ(plain(21), 42);
  plain = &twice;
  EXPECT_EQ(plain(4), 8);
}

TEST(Function, PassesReferencesAndWhatCanOnlyBeMoved) {
  Function<void(int&)> raise = [](int& number) { ++number; };
  int number = 1;
  raise(number);
  EXPECT_EQ(number, 2);
  Function<std::unique_ptr<int>(std::unique_ptr<int>)> pass = [](std::unique_ptr<int> value) { return value; };
  EXPECT_EQ(*pass(std::make_unique<int>(5)), 5);
}

TEST(Function, OwnsWhatCanOnlyBeMoved) {
  auto value = std::make_unique<int>(40);
  Function<int(int)> add = [value = std::move(value)](int more) { return *value + more; };
  Function<int(int)> moved = std::move(add);
  EXPECT_FALSE(add);  // NOLINT(bugprone-use-after-move): a moved-from Function must be empty
  EXPECT_EQ(moved(2), 42);
}

TEST(Function, CallsAMemberFunction) {
  Function<std::size_t(const std::string&)> size = &std::string::size;
  EXPECT_EQ(size("four"), 4u);
}

TEST(Function, IsEmptyWhereThereIsNothingToCall) {
  using Number = Function<int(int)>;
  int (*const no_function)(int) = nullptr;
  EXPECT_FALSE(Number());
  EXPECT_FALSE(Number(nullptr));
  EXPECT_FALSE(Number(no_function));
  EXPECT_FALSE(Number(std::function<int(int)>()));
  EXPECT_FALSE(Number(Function<short(int)>()));
  EXPECT_TRUE(Number(std::function<int(int)>(twice)));
  Number assigned = twice;
  assigned = nullptr;
  EXPECT_FALSE(assigned);
}

TEST(Function, DestroysWhatItHoldsOnce) {
  const auto shared = std::make_shared<int>(0);
  std::array<char, 100> large{};
  {
    Function<int()> small = [shared] { return *shared; };
    Function<int()> big = [shared, large] { return *shared + large[0]; };
    EXPECT_EQ(shared.use_count(), 3);
    small = std::move(big);
    EXPECT_EQ(shared.use_count(), 2);
    EXPECT_EQ(small(), 0);
  }
  EXPECT_EQ(shared.use_count(), 1);
}

}  // namespace
}  // namespace onloop
