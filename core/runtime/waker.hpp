#pragma once
#include "core/runtime/source.hpp"

namespace onloop::detail {

/// The source that watches the eventfd of a context's mailbox. When the eventfd is readable, it moves the contents of
/// the mailbox into the turn. The Runtime owns it. Thread: the context's.
class Waker final : public Source {
 public:
  explicit Waker(Runtime& runtime) noexcept : Source(runtime) {}

 private:
  void on_ready(std::uint32_t) override;
  void sever() noexcept override;
};

}  // namespace onloop::detail
