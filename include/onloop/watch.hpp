#pragma once
#include <onloop/export.h>
#include <onloop/detail/retire.hpp>

#include <utility>

namespace onloop {

/// What is wanted of a descriptor, or what it is ready for.
enum class Interest : unsigned { none = 0, read = 1, write = 2, both = 3 };

/// Owns the watch of a descriptor of the application's (Context::watch); destroying it ends the watch and leaves the
/// descriptor open. End the watch before closing the descriptor. Inert after its context. For the context's thread. May
/// be destroyed in any callback, its own included.
class [[nodiscard]] ONLOOP_API Watch {
 public:
  Watch() noexcept = default;

  /// Replaces the interest; none is silence, even on a hang-up. Throws std::system_error if the loop can't.
  void set(Interest interest);
  void cancel() noexcept;
  /// True until it was cancelled or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Watch(detail::HandleTo<detail::RawWatch> watch) noexcept : watch_(std::move(watch)) {}
  detail::HandleTo<detail::RawWatch> watch_;
};

}  // namespace onloop
