#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace onloop::detail {

/// Bytes that wait for the kernel, in chunks that are freed as they are sent. What does not fit into the last chunk
/// gets a chunk of its own size, but at least kSmallest: many small writes share one, and a large one wastes nothing.
class WriteQueue {
 public:
  static constexpr std::size_t kSmallest = 4096;

  WriteQueue() noexcept = default;
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;
  ~WriteQueue();

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Strong guarantee: throws only std::bad_alloc.
  void append(std::span<const std::byte> data);
  /// Takes `data` as it is, but for its first `skip` bytes, of which there are fewer than it has.
  void append(std::vector<std::byte>&& data, std::size_t skip);
  /// The first bytes as pieces for sendmsg; returns how many pieces of `pieces` were filled.
  [[nodiscard]] std::size_t front(std::span<iovec> pieces) const noexcept;
  /// Copies the bytes from `offset` on; at most size() - offset.
  void copy(std::size_t offset, std::span<std::byte> into) const noexcept;
  /// Forgets the first `count` bytes; at most size().
  void consume(std::size_t count) noexcept;

 private:
  struct Chunk {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t capacity;
    std::unique_ptr<Chunk> next;
    std::unique_ptr<std::byte[]> bytes;
    std::vector<std::byte> given;  // instead of these
    [[nodiscard]] std::byte* data() noexcept { return bytes ? bytes.get() : given.data(); }
  };
  void add(std::unique_ptr<Chunk> chunk) noexcept;
  std::unique_ptr<Chunk> first_;
  Chunk* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace onloop::detail
