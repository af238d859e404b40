#include "core/net/write_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace onloop::detail {

WriteQueue::~WriteQueue() {
  while (first_) first_ = std::move(first_->next);  // one by one: the destructors of a long list would recurse
}

void WriteQueue::append(std::span<const std::byte> data) {
  const std::size_t room = last_ ? last_->capacity - last_->end : 0;
  const std::size_t fits = std::min(room, data.size());
  const std::span<const std::byte> rest = data.subspan(fits);
  std::unique_ptr<Chunk> added;
  if (!rest.empty()) {
    const std::size_t capacity = std::max(rest.size(), kSmallest);
    added = std::make_unique<Chunk>(Chunk{.capacity = capacity, .next = nullptr, .bytes = nullptr, .given = {}});
    added->bytes = std::make_unique_for_overwrite<std::byte[]>(capacity);
    std::memcpy(added->bytes.get(), rest.data(), rest.size());
    added->end = rest.size();
  }
  if (fits) {
    std::memcpy(last_->data() + last_->end, data.data(), fits);
    last_->end += fits;
  }
  if (added) add(std::move(added));
  size_ += data.size();
}

void WriteQueue::append(std::vector<std::byte>&& data, std::size_t skip) {
  const std::size_t end = data.size();
  add(std::make_unique<Chunk>(
      Chunk{.begin = skip, .end = end, .capacity = end, .next = nullptr, .bytes = nullptr, .given = std::move(data)}));
  size_ += end - skip;
}

void WriteQueue::add(std::unique_ptr<Chunk> chunk) noexcept {
  Chunk* added = chunk.get();
  (last_ ? last_->next : first_) = std::move(chunk);
  last_ = added;
}

std::size_t WriteQueue::front(std::span<iovec> pieces) const noexcept {
  std::size_t filled = 0;
  for (Chunk* chunk = first_.get(); chunk && filled < pieces.size(); chunk = chunk->next.get()) {
    pieces[filled++] = {.iov_base = chunk->data() + chunk->begin, .iov_len = chunk->end - chunk->begin};
  }
  return filled;
}

void WriteQueue::copy(std::size_t offset, std::span<std::byte> into) const noexcept {
  for (Chunk* chunk = first_.get(); chunk && !into.empty(); chunk = chunk->next.get()) {
    const std::size_t size = chunk->end - chunk->begin;
    if (offset < size) {
      const std::size_t count = std::min(size - offset, into.size());
      std::memcpy(into.data(), chunk->data() + chunk->begin + offset, count);
      into = into.subspan(count);
      offset = 0;
    } else {
      offset -= size;
    }
  }
}

void WriteQueue::consume(std::size_t count) noexcept {
  size_ -= count;
  while (count > 0) {
    Chunk& chunk = *first_;
    const std::size_t held = chunk.end - chunk.begin;
    if (count < held) {
      chunk.begin += count;
      return;
    }
    count -= held;
    first_ = std::move(first_->next);
    if (!first_) last_ = nullptr;
  }
}

}  // namespace onloop::detail
