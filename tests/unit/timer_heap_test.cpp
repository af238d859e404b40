#include "core/runtime/timer_heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace onloop::detail {
namespace {

struct Entry final : TimerNode {
  void on_due() override {}
};

TEST(TimerHeap, IsEmptyAtFirst) {
  TimerHeap heap;
  EXPECT_EQ(heap.earliest(), ONLOOP_NO_DEADLINE);
  EXPECT_EQ(heap.take_due(UINT64_MAX - 1, heap.mark()), nullptr);
  EXPECT_EQ(heap.take_any(), nullptr);
}

TEST(TimerHeap, GivesWhatIsDueInOrderOfDeadline) {
  TimerHeap heap;
  Entry a, b, c;
  heap.schedule(a, 30);
  heap.schedule(b, 10);
  heap.schedule(c, 20);
  EXPECT_EQ(heap.earliest(), 10u);
  EXPECT_EQ(heap.take_due(25, heap.mark()), &b);
  EXPECT_EQ(heap.take_due(25, heap.mark()), &c);
  EXPECT_EQ(heap.take_due(25, heap.mark()), nullptr);
  EXPECT_FALSE(c.scheduled());
  EXPECT_TRUE(a.scheduled());
  heap.cancel(a);
}

TEST(TimerHeap, GivesEqualDeadlinesInOrderOfSetting) {
  TimerHeap heap;
  std::deque<Entry> entries(50);
  for (Entry& entry : entries) heap.schedule(entry, 7);
  for (Entry& entry : entries) EXPECT_EQ(heap.take_due(7, heap.mark()), &entry);
}

TEST(TimerHeap, SettingAgainMovesBehindEqualDeadlines) {
  TimerHeap heap;
  Entry first, second;
  heap.schedule(first, 7);
  heap.schedule(second, 7);
  heap.schedule(first, 7);
  EXPECT_EQ(heap.take_due(7, heap.mark()), &second);
  EXPECT_EQ(heap.take_due(7, heap.mark()), &first);
}

TEST(TimerHeap, LeavesWhatWasSetAfterTheMark) {
  TimerHeap heap;
  Entry before, after;
  heap.schedule(before, 5);
  const std::uint64_t mark = heap.mark();
  heap.schedule(after, 5);
  EXPECT_EQ(heap.take_due(9, mark), &before);
  EXPECT_EQ(heap.take_due(9, mark), nullptr);
  EXPECT_EQ(heap.take_due(9, heap.mark()), &after);
}

TEST(TimerHeap, CancelOfWhatIsNotScheduledDoesNothing) {
  TimerHeap heap;
  Entry entry;
  heap.cancel(entry);
  heap.schedule(entry, 1);
  heap.cancel(entry);
  heap.cancel(entry);
  EXPECT_EQ(heap.earliest(), ONLOOP_NO_DEADLINE);
}

TEST(TimerHeap, AgreesWithASortedListUnderRandomChanges) {
  std::mt19937 random(20261121);
  TimerHeap heap;
  std::deque<Entry> entries(200);
  std::vector<std::pair<std::uint64_t, std::size_t>> model;  // (deadline, entry)
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t which = random() % entries.size();
    std::erase_if(model, [&](const auto& pair) { return pair.second == which; });
    if (random() % 3 == 0) {
      heap.cancel(entries[which]);
    } else {
      const std::uint64_t at = random() % 1000;
      heap.schedule(entries[which], at);
      model.emplace_back(at, which);  // after the entries with the same deadline, because it was set last
    }
    const auto least =
        std::min_element(model.begin(), model.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
    ASSERT_EQ(heap.earliest(), least == model.end() ? ONLOOP_NO_DEADLINE : least->first);
  }
  std::stable_sort(model.begin(), model.end(), [](const auto& x, const auto& y) { return x.first < y.first; });
  for (const auto& [at, which] : model) ASSERT_EQ(heap.take_due(1000, heap.mark()), &entries[which]) << at;
  EXPECT_EQ(heap.take_any(), nullptr);
}

}  // namespace
}  // namespace onloop::detail
