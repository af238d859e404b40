#pragma once
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <vector>

#include "drive.hpp"

namespace onloop::test {

/// Every kind of callback that a context makes.
enum class Callback {
  on_accept,
  on_open,
  on_data,
  on_drain,
  on_end,
  on_close,
  connected,
  connect_failed,
  timer,
  every,
  post,
  remote_post,
  watch,
  on_wake,
  on_error,
  drained,
};
std::span<const Callback> all_callbacks();
const char* name_of(Callback callback);

enum class Mode { run, dispatch };
const char* name_of(Mode mode);
void PrintTo(Callback callback, std::ostream* out);  // NOLINT: GoogleTest's name
void PrintTo(Mode mode, std::ostream* out);          // NOLINT
std::vector<Mode> modes_of(const LoopCase& loop);

/// A context with one object of each kind. A test can provoke each kind of callback in it. In the same batch, other
/// connections also get callbacks.
class Scene {
 public:
  static constexpr int kBystanders = 3;  ///< open connections of `bystanders`; one more is still connecting

  explicit Scene(const LoopCase& loop);

  /// Makes `action` run once, in the next callback of this kind. Causes this callback, and sends a byte to each
  /// bystander.
  void provoke(Callback callback, std::function<void()> action);
  /// Drives the context until `done` returns true or the context is destroyed. Returns false if neither happens within
  /// ten seconds.
  [[nodiscard]] bool drive(Mode mode, const std::function<bool()>& done);
  [[nodiscard]] bool struck() const { return struck_; }
  /// The number of calls that the two protocols have got. It does not count a protocol that was destroyed.
  [[nodiscard]] int calls() const { return (actor ? actor->calls : 0) + (bystanders ? bystanders->calls : 0); }

  std::unique_ptr<Recorder> actor;       ///< the protocol of the listener and of the connections whose callbacks act
  std::unique_ptr<Recorder> bystanders;  ///< the protocol of the other connections
  std::unique_ptr<Context> context;
  Listener* listener = nullptr;
  Peer self;     ///< the other end of a connection of the actor's
  Peer client;   ///< connects to the listener
  Ref self_ref;  ///< that connection
  std::array<Peer, kBystanders> others;
  std::array<Ref, kBystanders + 1> other_refs;

 private:
  void strike();

  FullListener unreachable_;
  RawListener reachable_{"127.0.0.1:0"};
  RefusedPort refused_;
  Fd watched_, prod_;
  Watch watch_;
  Timer timer_;
  std::optional<DescriptorsLeft> descriptors_left_;
  std::function<void()> action_;
  bool struck_ = false;
};

}  // namespace onloop::test
