#pragma once
#include <utility>

namespace onloop {

/// What is wanted of a descriptor, or what it is ready for.
enum class Interest : unsigned { none = 0, read = 1, write = 2, both = 3 };

namespace detail {
class RawWatch;
}

/// Owns the watch of a descriptor of the application's (Context::watch); destroying it ends the watch and leaves the
/// descriptor open. End the watch before closing the descriptor. Inert after its context. For the context's thread. May
/// be destroyed in any callback, its own included.
class [[nodiscard]] Watch {
 public:
  Watch() noexcept = default;
  Watch(Watch&& other) noexcept : watch_(std::exchange(other.watch_, nullptr)) {}
  Watch& operator=(Watch&& other) noexcept;
  ~Watch();

  /// Replaces the interest; none is silence, even on a hang-up. Throws std::system_error if the loop can't.
  void set(Interest interest);
  void cancel() noexcept;
  /// True until it was cancelled or its context is gone.
  [[nodiscard]] bool active() const noexcept;

 private:
  friend class Context;
  explicit Watch(detail::RawWatch* watch) noexcept : watch_(watch) {}
  detail::RawWatch* watch_ = nullptr;
};

}  // namespace onloop
