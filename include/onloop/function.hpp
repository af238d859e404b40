#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace onloop {

/// A callable of a given signature, for callbacks. It is like std::function, with two differences.
///
/// - It is move-only. So what it holds may own things that can't be copied, such as a std::unique_ptr or a socket.
/// - An empty one must not be called. Calling it is undefined; it does not throw std::bad_function_call.
///
/// A callable of up to three pointers that moves without throwing is kept inside the object. Any other is kept on the
/// heap. The object has the size of four pointers. It is not const-correct: the call operator is not const, and it
/// calls what is held as an lvalue that is not const.
///
/// It converts from every callable that takes `Args...` and whose result converts to R; for void R, from every result.
/// A null function pointer, an empty std::function and an empty Function of another signature make it empty.
///
///     onloop::Function<int(std::string_view)> length = [](std::string_view text) { return int(text.size()); };
template <class Signature>
class Function;

/// @cond
namespace detail {

/// What may stand for "no function": function pointers, std::function, Function.
template <class F>
concept PerhapsNull = std::is_constructible_v<F, std::nullptr_t> && requires(const F& function) {
  static_cast<bool>(function);
};

/// For a static_assert that fails only where its template is used.
template <class...>
inline constexpr bool kNever = false;

}  // namespace detail
/// @endcond

/// The members of a Function, which Function itself describes: R is the type of the result, Args are those of the
/// parameters.
template <class R, class... Args>
class Function<R(Args...)> {
 public:
  /// Makes an empty one.
  Function() noexcept = default;
  /// Makes an empty one.
  Function(std::nullptr_t) noexcept {}  // NOLINT: "no function" is written so
  /// Holds a copy of `function`, or moves it in if it is an rvalue. If `function` stands for "no function", such as a
  /// null pointer to a function, the Function is empty.
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Function> && std::is_constructible_v<std::decay_t<F>, F> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
      Function(F&& function) {  // NOLINT: a callable is a Function, where one is asked for
    using Held = std::decay_t<F>;
    if constexpr (detail::PerhapsNull<Held> && !std::is_function_v<std::remove_reference_t<F>>) {
      if (!static_cast<bool>(function)) return;
    }
    if constexpr (fits<Held>()) {
      ::new (static_cast<void*>(storage_)) Held(std::forward<F>(function));
      ops_ = &kInside<Held>;
    } else {
      ::new (static_cast<void*>(storage_)) Held*(new Held(std::forward<F>(function)));
      ops_ = &kOnHeap<Held>;
    }
  }
  /// Takes what `other` holds. `other` is then empty.
  Function(Function&& other) noexcept { take(other); }
  /// Destroys what this one holds, and takes what `other` holds. `other` is then empty.
  Function& operator=(Function&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  /// Destroys what it holds.
  ~Function() { reset(); }

  /// Calls what it holds. It must not be empty.
  R operator()(Args... arguments) { return ops_->call(storage_, std::forward<Args>(arguments)...); }
  /// @return False if it is empty.
  explicit operator bool() const noexcept { return ops_ != nullptr; }

 private:
  struct Ops {
    R (*call)(void*, Args&&...);
    void (*move)(void* from, void* to) noexcept;
    void (*destroy)(void*) noexcept;
  };
  template <class F>
  static constexpr bool fits() {
    return sizeof(F) <= 3 * sizeof(void*) && alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;
  }
  template <class F>
  static R call(F& function, Args&&... arguments) {
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(std::invoke(function, std::forward<Args>(arguments)...));
    } else {
      return std::invoke(function, std::forward<Args>(arguments)...);
    }
  }
  template <class F>
  static constexpr Ops kInside{[](void* self, Args&&... arguments) -> R {
                                 return call(*static_cast<F*>(self), std::forward<Args>(arguments)...);
                               },
                               [](void* from, void* to) noexcept {
                                 ::new (to) F(std::move(*static_cast<F*>(from)));
                                 static_cast<F*>(from)->~F();
                               },
                               [](void* self) noexcept { static_cast<F*>(self)->~F(); }};
  template <class F>
  static constexpr Ops kOnHeap{[](void* self, Args&&... arguments) -> R {
                                 return call(**static_cast<F**>(self), std::forward<Args>(arguments)...);
                               },
                               [](void* from, void* to) noexcept { ::new (to) F*(*static_cast<F**>(from)); },
                               [](void* self) noexcept { delete *static_cast<F**>(self); }};

  void reset() noexcept {
    if (const Ops* ops = std::exchange(ops_, nullptr)) ops->destroy(storage_);
  }
  void take(Function& other) noexcept {
    ops_ = std::exchange(other.ops_, nullptr);
    if (ops_) ops_->move(other.storage_, storage_);
  }

  const Ops* ops_ = nullptr;
  alignas(void*) std::byte storage_[3 * sizeof(void*)];
};

}  // namespace onloop
