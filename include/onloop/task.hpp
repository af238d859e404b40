#pragma once
#include <onloop/export.h>

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace onloop {

/// A callable without arguments and result, run at most once by the library: like std::function<void()>, but move-only,
/// so that it can own what it needs (a unique_ptr, a socket). Callables of up to three pointers that move without
/// throwing are kept inside, others on the heap. An empty Task must not be called. Where the library takes a Task, an
/// empty one is ignored.
class ONLOOP_API Task {
 public:
  Task() noexcept = default;
  Task(std::nullptr_t) noexcept {}
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Task> && std::is_invocable_v<std::decay_t<F>&>) Task(F&& function) {
    using Held = std::decay_t<F>;
    if constexpr (fits<Held>()) {
      ::new (static_cast<void*>(storage_)) Held(std::forward<F>(function));
      ops_ = &kInside<Held>;
    } else {
      ::new (static_cast<void*>(storage_)) Held*(new Held(std::forward<F>(function)));
      ops_ = &kOnHeap<Held>;
    }
  }
  Task(Task&& other) noexcept { take(other); }
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Task() { reset(); }

  void operator()() { ops_->call(storage_); }
  explicit operator bool() const noexcept { return ops_ != nullptr; }

 private:
  struct Ops {
    void (*call)(void*);
    void (*move)(void* from, void* to) noexcept;
    void (*destroy)(void*) noexcept;
  };
  template <class F>
  static constexpr bool fits() {
    return sizeof(F) <= 3 * sizeof(void*) && alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;
  }
  template <class F>
  static constexpr Ops kInside{[](void* self) { (void)(*static_cast<F*>(self))(); },
                               [](void* from, void* to) noexcept {
                                 ::new (to) F(std::move(*static_cast<F*>(from)));
                                 static_cast<F*>(from)->~F();
                               },
                               [](void* self) noexcept { static_cast<F*>(self)->~F(); }};
  template <class F>
  static constexpr Ops kOnHeap{[](void* self) { (void)(**static_cast<F**>(self))(); },
                               [](void* from, void* to) noexcept { ::new (to) F*(*static_cast<F**>(from)); },
                               [](void* self) noexcept { delete *static_cast<F**>(self); }};

  void reset() noexcept {
    if (const Ops* ops = std::exchange(ops_, nullptr)) ops->destroy(storage_);
  }
  void take(Task& other) noexcept {
    ops_ = std::exchange(other.ops_, nullptr);
    if (ops_) ops_->move(other.storage_, storage_);
  }

  const Ops* ops_ = nullptr;
  alignas(void*) std::byte storage_[3 * sizeof(void*)];
};

}  // namespace onloop
