#pragma once
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace onloop::detail {

/// The bytes of one connection that wait until the kernel takes them. The Stream owns the queue.
///
/// The bytes are kept in chunks. A chunk is freed as soon as it is sent. Bytes that do not fit into the last chunk get
/// a new chunk. The new chunk has the size of these bytes, but at least kSmallest. Therefore many small writes share
/// one chunk, and a large write wastes no memory.
class WriteQueue {
 public:
  static constexpr std::size_t kSmallest = 4096;

  WriteQueue() noexcept = default;
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;
  ~WriteQueue();

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Copies `data` to the end of the queue.
  /// @throws std::bad_alloc Then the queue has not changed.
  void append(std::span<const std::byte> data);
  /// Takes over the vector without a copy. Its first `skip` bytes do not belong to the queue. `skip` must be less than
  /// the size of `data`.
  void append(std::vector<std::byte>&& data, std::size_t skip);
  /// Describes the first bytes of the queue in `pieces`, for sendmsg(2).
  /// @return How many elements of `pieces` were filled.
  [[nodiscard]] std::size_t front(std::span<iovec> pieces) const noexcept;
  /// Copies bytes of the queue, from `offset` on, until `into` is full. `into` must have at most size() - offset bytes.
  void copy(std::size_t offset, std::span<std::byte> into) const noexcept;
  /// Removes the first `count` bytes. `count` must be at most size().
  void consume(std::size_t count) noexcept;

 private:
  /// Its bytes from `begin` to `end` are still to be sent.
  struct Chunk {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t capacity;
    std::unique_ptr<Chunk> next;
    std::unique_ptr<std::byte[]> bytes;
    std::vector<std::byte> given;  // holds the bytes of the chunk if `bytes` is null
    [[nodiscard]] std::byte* data() noexcept { return bytes ? bytes.get() : given.data(); }
  };
  void add(std::unique_ptr<Chunk> chunk) noexcept;
  std::unique_ptr<Chunk> first_;
  Chunk* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace onloop::detail
