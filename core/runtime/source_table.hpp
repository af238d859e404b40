#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <vector>

namespace onloop::detail {

class Runtime;
class Source;

/// The sources of a Runtime that watch a descriptor, by the number of the descriptor, and their watches on the loop.
///
/// The sources own themselves; see Source. Thread: the context's.
class SourceTable {
 public:
  explicit SourceTable(Runtime& runtime) noexcept : runtime_(runtime) {}
  SourceTable(const SourceTable&) = delete;
  SourceTable& operator=(const SourceTable&) = delete;

  /// Watches `fd` for `source`. The caller must have just got `fd` from the kernel, or must have called
  /// refuse_if_watched(). So another watch of this number is stale, and is ended. Throws std::system_error with a text
  /// that begins with `what`.
  void watch(Source& source, int fd, std::uint32_t interest, std::string_view what);
  /// Throws std::system_error (EEXIST) if a source watches this file already. It is for descriptors that the
  /// application has made.
  void refuse_if_watched(int fd, std::string_view what) const;
  /// The source that watches this number, or null if there is none.
  [[nodiscard]] Source* find(int fd) const noexcept {
    const auto slot = static_cast<std::size_t>(fd);
    return slot < by_descriptor_.size() ? by_descriptor_[slot] : nullptr;
  }
  /// Ends a stale watch of this number, and reports it. Returns false if the source can't work without the number.
  bool vacate(int fd) noexcept;
  /// Changes the directions that the source wants. An interest in READ that is no longer wanted stays in the loop until
  /// the next event of the source, because most pauses are short.
  [[nodiscard]] std::error_code want(Source& source, std::uint32_t interest) noexcept;
  /// Ends the watch of the source. The caller must call it before it closes the descriptor. It does nothing if the
  /// source watches no descriptor.
  void unwatch(Source& source) noexcept;
  /// Severs every source.
  void sever() noexcept;

  // ---- for a cutover, which puts the same sources on another loop ----
  /// The sources by number, with null where no source watches the number.
  [[nodiscard]] const std::vector<Source*>& by_descriptor() const noexcept { return by_descriptor_; }
  /// Makes room for this many numbers, so that put() can't fail for a lower number.
  void reserve(std::size_t numbers) {
    if (by_descriptor_.size() < numbers) by_descriptor_.resize(numbers);
  }
  void put(int fd, Source& source) noexcept { by_descriptor_[static_cast<std::size_t>(fd)] = &source; }

 private:
  Runtime& runtime_;
  std::vector<Source*> by_descriptor_;
};

}  // namespace onloop::detail
