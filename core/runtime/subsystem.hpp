#pragma once
#include <cstddef>
#include <memory>
#include <vector>

namespace onloop::detail {

class Runtime;

/// The base of an object that an upper layer keeps in each context, such as the worker pool or the list of children. A
/// context has at most one subsystem of a kind, and owns it. When the context is destroyed, the subsystem that was made
/// last is severed first. The memory of a subsystem stays for the frames that use it. Thread: the context's.
class Subsystem {
 public:
  Subsystem() noexcept = default;
  Subsystem(const Subsystem&) = delete;
  Subsystem& operator=(const Subsystem&) = delete;
  virtual ~Subsystem() = default;
  /// Takes everything that belongs to the subsystem out of the runtime, without any callback.
  virtual void sever() noexcept = 0;
  /// Called in a forked child, when the context is on a loop that belongs to the child.
  virtual void after_fork() noexcept = 0;
};

/// The subsystems of one context. The Runtime owns them.
class Subsystems {
 public:
  /// The subsystem of this kind, or null if there is none.
  template <class T>
  [[nodiscard]] T* find() const noexcept {
    for (const auto& each : subsystems_) {
      if (T* found = dynamic_cast<T*>(each.get())) return found;
    }
    return nullptr;
  }
  /// Makes the subsystem if there is none of this kind yet.
  template <class T>
  [[nodiscard]] T& find_or_make(Runtime& runtime) {
    if (T* there = find<T>()) return *there;
    subsystems_.push_back(std::make_unique<T>(runtime));
    return static_cast<T&>(*subsystems_.back());
  }

  void sever() noexcept {
    std::size_t severed = 0;
    do {  // severing a subsystem may have made another, which must be severed, too
      severed = subsystems_.size();
      for (std::size_t i = severed; i > 0; --i) subsystems_[i - 1]->sever();
    } while (subsystems_.size() > severed);
  }
  void after_fork() noexcept {
    for (std::size_t i = 0; i < subsystems_.size(); ++i) subsystems_[i]->after_fork();  // may make another
  }

 private:
  std::vector<std::unique_ptr<Subsystem>> subsystems_;
};

}  // namespace onloop::detail
