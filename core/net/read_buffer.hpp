#pragma once
#include <cstddef>
#include <memory>

namespace onloop::detail {

/// Where a context keeps its read buffer while no frame uses it.
struct ReadBuffers {
  std::size_t size;
  std::unique_ptr<std::byte[]> spare;
};

/// The context's read buffer, for one frame. A nested frame finds it taken and gets one of its own, so that a span
/// stays valid for its whole call.
class ReadBuffer {
 public:
  explicit ReadBuffer(ReadBuffers& shared) : shared_(shared), bytes_(shared.spare.release()) {
    if (!bytes_) bytes_ = new std::byte[shared.size];  // not initialised: most of it is never touched
  }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  ~ReadBuffer() {
    if (shared_.spare) {
      delete[] bytes_;
    } else {
      shared_.spare.reset(bytes_);
    }
  }
  [[nodiscard]] std::byte* data() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t size() const noexcept { return shared_.size; }

 private:
  ReadBuffers& shared_;
  std::byte* bytes_;
};

}  // namespace onloop::detail
