#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/runtime/source.hpp"

namespace onloop::detail {

/// The list of the sources that are ready, in the order of their up-calls. The links are in the sources, so adding a
/// source can't fail. The list owns no source. But a source that is dropped while it is in the list stays until it has
/// been taken from the list. The Turn owns the list. Thread: the context's.
class ReadyList {
 public:
  [[nodiscard]] bool empty() const noexcept { return !head_; }
  [[nodiscard]] bool has_several() const noexcept { return head_ && head_->next_ready_; }
  void add(Source& source, std::uint32_t readiness) noexcept {
    source.ready_ = static_cast<std::uint8_t>(readiness);
    source.upcall_ = Source::Upcall::collected_already;
    source.next_ready_ = nullptr;
    if (head_) {
      last_->next_ready_ = &source;
    } else {
      head_ = &source;
    }
    last_ = &source;
  }
  /// Takes the first source out of the list. Returns null if there is none.
  Source* take() noexcept {
    Source* source = head_;
    if (!source) return nullptr;
    head_ = source->next_ready_;
    source->upcall_ = Source::Upcall::collected;
    return source;
  }

 private:
  Source* head_ = nullptr;
  Source* last_ = nullptr;  // valid only if the list is not empty
};

/// The list of the sources that have deferred a call, in order. Each source is in the list at most once. The list
/// shares the ownership of its sources. The Turn owns the list. Thread: the context's.
class DeferredList {
 public:
  [[nodiscard]] bool empty() const noexcept { return !head_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Adds a source. Returns false if the source is in the list already.
  bool add(Source& source) noexcept {
    if (source.deferred_) return false;
    source.deferred_ = true;
    (head_ ? last_->next_deferred_ : head_) = Held<Source>(source);
    last_ = &source;
    ++size_;
    return true;
  }
  /// Takes the first source out of the list, which must not be empty.
  [[nodiscard]] Held<Source> take() noexcept {
    Held<Source> first = std::move(head_);
    head_ = std::move(first->next_deferred_);
    --size_;
    first->deferred_ = false;
    return first;
  }

 private:
  Held<Source> head_;
  Source* last_ = nullptr;  // valid only if the list is not empty
  std::size_t size_ = 0;
};

}  // namespace onloop::detail
