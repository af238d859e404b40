#pragma once
#include <cstddef>
#include <memory>
#include <vector>

namespace onloop::detail {

class Runtime;

/// What an upper layer keeps in a context, one of its kind. When the context goes, the subsystem that was made last is
/// severed first. The memory of a subsystem stays for the frames that use it.
class Subsystem {
 public:
  Subsystem() noexcept = default;
  Subsystem(const Subsystem&) = delete;
  Subsystem& operator=(const Subsystem&) = delete;
  virtual ~Subsystem() = default;
  /// Takes everything that belongs to the subsystem out of the runtime, silently.
  virtual void sever() noexcept = 0;
  /// Called in a forked child, when the context is on a loop of the child's.
  virtual void after_fork() noexcept = 0;
};

/// The subsystems of one context.
class Subsystems {
 public:
  /// Null if there is no subsystem of this kind.
  template <class T>
  [[nodiscard]] T* find() const noexcept {
    for (const auto& each : subsystems_) {
      if (T* found = dynamic_cast<T*>(each.get())) return found;
    }
    return nullptr;
  }
  template <class T>
  [[nodiscard]] T& find_or_make(Runtime& runtime) {
    if (T* there = find<T>()) return *there;
    subsystems_.push_back(std::make_unique<T>(runtime));
    return static_cast<T&>(*subsystems_.back());
  }

  void sever() noexcept {
    std::size_t severed = 0;
    do {  // again if severing one has made another
      severed = subsystems_.size();
      for (std::size_t i = severed; i > 0; --i) subsystems_[i - 1]->sever();
    } while (subsystems_.size() > severed);
  }
  void after_fork() noexcept {
    for (std::size_t i = 0; i < subsystems_.size(); ++i) subsystems_[i]->after_fork();  // which may make another
  }

 private:
  std::vector<std::unique_ptr<Subsystem>> subsystems_;
};

}  // namespace onloop::detail
