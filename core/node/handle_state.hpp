#pragma once
#include <memory>

namespace onloop::detail {

class Phases;

/// Base class of what a handle of this layer refers to: a timeout, an immediate, a server, a socket, or a callback()
/// that keeps run() from returning.
///
/// The handles own the state together. While the state is active, it has one more owner: itself, on behalf of the
/// layer. While it is active and referenced, it keeps Context::run() from returning. Every call is for the context's
/// thread.
class HandleState : public std::enable_shared_from_this<HandleState> {
 public:
  explicit HandleState(Phases& phases) noexcept;
  HandleState(const HandleState&) = delete;
  HandleState& operator=(const HandleState&) = delete;
  virtual ~HandleState();

  /// @return Null if the context is gone.
  [[nodiscard]] Phases* phases() const noexcept { return phases_; }
  /// @throws std::system_error with EPERM on another thread than the context's.
  void check_thread() const;
  [[nodiscard]] bool active() const noexcept { return self_ != nullptr; }
  [[nodiscard]] bool has_ref() const noexcept { return referenced_; }
  /// Makes the state referenced, or unreferenced.
  void set_ref(bool on);

 protected:
  void activate();
  /// Ends the ownership of the layer. The caller must own the state, too.
  void deactivate() noexcept;

 private:
  friend class Phases;
  /// The context is gone. Drops everything that belongs to the application or to the context, and calls nothing.
  virtual void sever() noexcept = 0;

  Phases* phases_ = nullptr;
  HandleState* before_ = nullptr;  // neighbours in the list of Phases, from the constructor on
  HandleState* after_ = nullptr;
  std::shared_ptr<HandleState> self_;  // set while the state is active
  bool referenced_ = true;
};

/// Checks the thread before a handle changes its state.
/// @return The state, or null for a handle without a state.
/// @throws std::system_error with EPERM on another thread than the context's.
template <class State>
State* checked(const std::shared_ptr<State>& state) {
  if (state) state->check_thread();
  return state.get();
}

}  // namespace onloop::detail
