#pragma once
#include <onloop/loop_ops.h>

#include <string>
#include <string_view>
#include <vector>

namespace onloop {

/// Names a loop to run on. A value that owns nothing and does nothing: a Context attaches to the loop, and makes it
/// first if no foreign one is given. The ops table must live for the rest of the process; a foreign loop must outlive
/// the contexts on it. Any thread.
class Loop {
 public:
  /// A loop reached through `ops`: the application's own if `foreign` is given, else one that the shim makes and owns.
  explicit Loop(const onloop_ops& ops, void* foreign = nullptr) noexcept : ops_(&ops), foreign_(foreign) {}

  [[nodiscard]] std::string_view name() const noexcept { return ops_->name; }
  [[nodiscard]] const onloop_ops& ops() const noexcept { return *ops_; }
  [[nodiscard]] void* foreign() const noexcept { return foreign_; }

 private:
  const onloop_ops* ops_;
  void* foreign_;
};

/// The best native loop of this system: on Linux the one on epoll, named "native".
[[nodiscard]] Loop native() noexcept;
/// The native loop on poll(2), named "native-poll". Portable; a turn costs time for each open descriptor, and it has no
/// Context::fd().
[[nodiscard]] Loop native_poll() noexcept;

struct LoopInfo {
  std::string name;         ///< what loop_by_name takes
  std::string description;  ///< one line for people
};

/// The loops that loop_by_name knows here.
[[nodiscard]] std::vector<LoopInfo> available_loops();

/// The loop of that name, owned. Throws std::system_error (EINVAL) that says which names there are.
[[nodiscard]] Loop loop_by_name(std::string_view name);

}  // namespace onloop
