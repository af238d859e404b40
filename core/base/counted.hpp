#pragma once
#include <atomic>
#include <concepts>
#include <cstdint>
#include <utility>

namespace onloop::detail {

template <class T>
class Held;

/// The base class of an object that counted pointers (Held) own. The last owner deletes the object.
///
/// A new object has as many owners as its constructor is given. This is 0, or 1 for an owner that has no Held yet.
/// `Count` is a plain integer where all pointers live on one thread. It is an atomic integer where a pointer may be
/// dropped on another thread.
template <class Count>
class BasicCounted {
 public:
  BasicCounted(const BasicCounted&) = delete;
  BasicCounted& operator=(const BasicCounted&) = delete;

 protected:
  explicit BasicCounted(std::uint32_t owners = 0) noexcept : owners_(owners) {}
  // This is pure because GCC 14 otherwise takes a derived object for an object of this class, and warns.
  virtual ~BasicCounted() = 0;

 private:
  template <class T>
  friend class Held;

  void add_owner() noexcept {
    if constexpr (std::integral<Count>) {
      ++owners_;
    } else {
      owners_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  void remove_owner() noexcept {
    if constexpr (std::integral<Count>) {
      if (--owners_ == 0) delete this;
    } else {
      if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
  }

  Count owners_;
};

template <class Count>
BasicCounted<Count>::~BasicCounted() = default;

/// The base of an object whose pointers all live on one thread.
using Counted = BasicCounted<std::uint32_t>;
/// The base of an object whose pointers may be copied and dropped on any thread.
using SharedCounted = BasicCounted<std::atomic<std::uint32_t>>;

/// A pointer that shares the ownership of a counted object. The count is in the object, so a Held can be made from a
/// plain reference to it at any time.
template <class T>
class Held {
 public:
  Held() noexcept = default;
  Held(std::nullptr_t) noexcept {}
  explicit Held(T* object) noexcept : object_(object) {
    if (object_) object_->add_owner();
  }
  explicit Held(T& object) noexcept : Held(&object) {}
  Held(const Held& other) noexcept : Held(other.object_) {}
  Held(Held&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <std::derived_from<T> Derived>
  Held(Held<Derived> other) noexcept : object_(other.release()) {}
  Held& operator=(Held other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Held() {
    if (object_) object_->remove_owner();
  }

  [[nodiscard]] T* get() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }
  bool operator==(const Held&) const noexcept = default;
  bool operator==(const T* other) const noexcept { return object_ == other; }

  /// Gives the ownership to the caller, as a plain pointer. The caller must pass this pointer to adopt() or drop().
  [[nodiscard]] T* release() noexcept { return std::exchange(object_, nullptr); }
  /// Takes over the ownership that release() gave.
  [[nodiscard]] static Held adopt(T* released) noexcept {
    Held held;
    held.object_ = released;
    return held;
  }
  /// Ends the ownership that release() gave.
  static void drop(T* released) noexcept { const Held held = adopt(released); }

 private:
  T* object_ = nullptr;
};

/// Makes a counted object with its first owner.
template <class T, class... Arguments>
[[nodiscard]] Held<T> make_held(Arguments&&... arguments) {
  return Held<T>(new T(std::forward<Arguments>(arguments)...));
}

}  // namespace onloop::detail
