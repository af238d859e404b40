#include "core/net/write_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace onloop::detail {
namespace {

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span{text});
}

std::string front(const WriteQueue& queue, std::size_t most_pieces = 64) {
  std::array<iovec, 64> pieces{};
  const std::size_t count = queue.front(std::span{pieces}.first(most_pieces));
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text.append(static_cast<char*>(pieces[i].iov_base), pieces[i].iov_len);
  return text;
}

TEST(WriteQueue, IsEmptyAtFirst) {
  const WriteQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(front(queue), "");
}

TEST(WriteQueue, GivesBackWhatWasAppendedInOrder) {
  WriteQueue queue;
  queue.append(bytes("one "));
  queue.append(bytes("two "));
  queue.append(bytes(std::string(10'000, 'x')));
  queue.append(bytes(" three"));
  EXPECT_EQ(queue.size(), 4u + 4u + 10'000u + 6u);
  EXPECT_EQ(front(queue), "one two " + std::string(10'000, 'x') + " three");
}

TEST(WriteQueue, SmallWritesShareOneChunk) {
  WriteQueue queue;
  for (int i = 0; i < 100; ++i) queue.append(bytes("0123456789"));
  std::array<iovec, 4> pieces{};
  EXPECT_EQ(queue.front(pieces), 1u);
}

TEST(WriteQueue, FillsOnlyThePiecesThatAreOffered) {
  WriteQueue queue;
  const std::string chunk(WriteQueue::kSmallest, 'a');
  for (int i = 0; i < 5; ++i) queue.append(bytes(chunk));
  EXPECT_EQ(front(queue, 2).size(), 2 * WriteQueue::kSmallest);
}

TEST(WriteQueue, ConsumesWithinAChunkAndAcrossChunks) {
  WriteQueue queue;
  const std::string first(WriteQueue::kSmallest, 'a');
  queue.append(bytes(first));
  queue.append(bytes("second"));
  queue.consume(1);
  EXPECT_EQ(queue.size(), first.size() + 5);
  queue.consume(first.size() + 2);
  EXPECT_EQ(front(queue), "ond");
  queue.consume(3);
  EXPECT_TRUE(queue.empty());
  queue.append(bytes("again"));
  EXPECT_EQ(front(queue), "again");
}

TEST(WriteQueue, ALongListIsDestroyedWithoutRecursion) {
  WriteQueue queue;
  const std::string chunk(WriteQueue::kSmallest, 'a');
  for (int i = 0; i < 50'000; ++i) queue.append(bytes(chunk));  // with a stack frame for each, it overflows
  EXPECT_EQ(queue.size(), 50'000 * WriteQueue::kSmallest);
}

TEST(WriteQueue, AgreesWithAStringUnderRandomUse) {
  std::mt19937 random(7);
  WriteQueue queue;
  std::string model;
  for (int step = 0; step < 2'000; ++step) {
    std::string text(random() % 9'000, static_cast<char>('a' + step % 26));
    queue.append(bytes(text));
    model += text;
    const std::size_t count = random() % (model.size() + 1);
    queue.consume(count);
    model.erase(0, count);
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(front(queue), model.substr(0, front(queue).size()));
  }
}

TEST(WriteQueue, TakesAVectorAsItIs) {
  WriteQueue queue;
  queue.append(bytes("one "));
  std::vector<std::byte> given(10, std::byte{'x'});
  const std::byte* const begin = given.data();
  queue.append(std::move(given), 3);
  queue.append(bytes(" three"));
  EXPECT_EQ(queue.size(), 4u + 7u + 6u);
  EXPECT_EQ(front(queue), "one xxxxxxx three");
  std::array<iovec, 4> pieces{};
  ASSERT_EQ(queue.front(pieces), 3u);
  EXPECT_EQ(pieces[1].iov_base, begin + 3);
  queue.consume(6);
  EXPECT_EQ(front(queue), "xxxxx three");
  std::string rest(3, '-');
  queue.copy(1, std::as_writable_bytes(std::span(rest)));
  EXPECT_EQ(rest, "xxx");
}

}  // namespace
}  // namespace onloop::detail
