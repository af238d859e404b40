#pragma once
#include <memory>

namespace onloop::detail {

class Phases;

/// What a handle of this layer stands for: a timeout, an immediate, a server, a socket, a callback that is awaited.
/// Shared by its handles and, while it is active, by the layer. Active and referenced, it keeps run() from returning.
class HandleState : public std::enable_shared_from_this<HandleState> {
 public:
  explicit HandleState(Phases& phases) noexcept;
  HandleState(const HandleState&) = delete;
  HandleState& operator=(const HandleState&) = delete;
  virtual ~HandleState();

  /// Null: the context is gone.
  [[nodiscard]] Phases* phases() const noexcept { return phases_; }
  /// Throws EPERM on another thread than the context's.
  void check_thread() const;
  [[nodiscard]] bool active() const noexcept { return self_ != nullptr; }
  [[nodiscard]] bool has_ref() const noexcept { return referenced_; }
  void set_ref(bool on);

 protected:
  void activate();
  /// The caller holds a reference: the layer's goes.
  void deactivate() noexcept;

 private:
  friend class Phases;
  /// The context is gone: drops everything that is the user's or the context's, without a call.
  virtual void sever() noexcept = 0;

  Phases* phases_ = nullptr;
  HandleState* before_ = nullptr;  // in Phases' list, from birth
  HandleState* after_ = nullptr;
  std::shared_ptr<HandleState> self_;
  bool referenced_ = true;
};

/// What a handle stands for, checked before it is changed; null for a handle of nothing.
template <class State>
State* checked(const std::shared_ptr<State>& state) {
  if (state) state->check_thread();
  return state.get();
}

}  // namespace onloop::detail
