#pragma once
#include <onloop/watch.hpp>

#include <functional>

#include "core/runtime/source.hpp"

namespace onloop::detail {

/// What a Watch owns: a descriptor of the application's, and whom to call.
class RawWatch final : public Source {
 public:
  RawWatch(Runtime& runtime, std::function<void(Interest)> callback)
      : Source(runtime), callback_(std::move(callback)) {}

  void set(Interest interest);
  void cancel() noexcept;
  [[nodiscard]] bool active() const noexcept { return fd() >= 0; }

 private:
  void on_ready(std::uint32_t readiness) override;
  void on_watch_error(std::error_code error) noexcept override;
  void sever() noexcept override { cancel(); }

  std::function<void(Interest)> callback_;
};

}  // namespace onloop::detail
