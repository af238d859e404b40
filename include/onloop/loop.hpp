#pragma once
#include <onloop/export.h>
#include <onloop/loop_ops.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Where this header lies: a static library can't know the prefix that it was installed to, but who includes its header
// does. The CMake package sets it, too, since __FILE__ may be mapped (ccache, -fmacro-prefix-map). Null in a build
// tree.
#ifndef ONLOOP_LOOP_HEADER
#define ONLOOP_LOOP_HEADER __FILE__
#endif

namespace onloop {

/// How a context is hosted on a loop.
enum class Hosting {
  direct,     ///< the loop watches each descriptor
  aggregate,  ///< the context keeps a native set of its own, and the loop watches that one descriptor
};

/// Names a loop to run on, and how to be hosted on it. A value that owns nothing and does nothing: a Context attaches
/// to the loop, and makes it first if no foreign one is given. The ops table must live for the rest of the process; a
/// foreign loop must outlive the contexts on it. Any thread.
class ONLOOP_API Loop {
 public:
  /// A loop reached through `ops`: the application's own if `foreign` is given, else one that the shim makes and owns.
  /// Hosting is aggregate on a foreign loop, direct on an owned one (libuv() and its like make that aggregate, too).
  Loop(const onloop_ops& ops, void* foreign = nullptr) noexcept  // NOLINT: a table is a loop, where a loop is asked for
      : ops_(&ops), foreign_(foreign), hosting_(foreign ? Hosting::aggregate : Hosting::direct) {}

  /// The same loop, where each descriptor of the context is registered with it. What that costs is the host's affair;
  /// its order of events is the host's, too.
  [[nodiscard]] Loop direct() const noexcept { return hosted(Hosting::direct); }
  /// The same loop, where all descriptors are in an epoll set of the context's own, whose one descriptor the loop
  /// watches. Behaves the same on every loop, and costs the host the same whatever the number of connections.
  [[nodiscard]] Loop aggregate() const noexcept { return hosted(Hosting::aggregate); }
  /// The same loop, with that hosting: direct() or aggregate().
  [[nodiscard]] Loop hosted(Hosting hosting) const noexcept {
    Loop changed = *this;
    changed.hosting_ = hosting;
    return changed;
  }
  /// The same loop, at another priority, in the host's own terms: GLib's (lower is sooner), sd-event's (likewise),
  /// libevent's (likewise, from 0 to event_base_get_npriorities() - 1). A loop without priorities refuses it when the
  /// context attaches (ENOTSUP).
  [[nodiscard]] Loop priority(int priority) const noexcept {
    Loop changed = *this;
    changed.priority_ = priority;
    return changed;
  }

  [[nodiscard]] std::string_view name() const noexcept { return ops_->name; }
  [[nodiscard]] Hosting hosting() const noexcept { return hosting_; }
  /// None: the shim's default.
  [[nodiscard]] std::optional<int> priority() const noexcept { return priority_; }
  [[nodiscard]] const onloop_ops& ops() const noexcept { return *ops_; }
  [[nodiscard]] void* foreign() const noexcept { return foreign_; }

  /// Whether both name the same loop with the same hosting. The priority is not compared. Two owned loops of one kind
  /// are equal: an owned loop is made by the context that attaches to it, and has no identity before.
  [[nodiscard]] friend bool operator==(const Loop& one, const Loop& other) noexcept {
    return one.ops_ == other.ops_ && one.foreign_ == other.foreign_ && one.hosting_ == other.hosting_;
  }

 private:
  const onloop_ops* ops_;
  void* foreign_;
  Hosting hosting_;
  std::optional<int> priority_;
};

/// The best native loop of this system: on Linux the one on epoll, named "native".
[[nodiscard]] ONLOOP_API Loop native() noexcept;
/// The native loop on poll(2), named "native-poll". Portable; a turn costs time for each open descriptor, and it has no
/// Context::fd().
[[nodiscard]] ONLOOP_API Loop native_poll() noexcept;

struct ONLOOP_API LoopInfo {
  std::string name;         ///< what loop_by_name takes
  bool available = false;   ///< whether loop_by_name gives it
  std::string description;  ///< one line for people: what it is, where its shim is, or why it can't be had
};

/// The native loops; onloop's own shims, linked, installed or neither; and further shims, libonloop-NAME.so, in the
/// directory that onloop is installed to. Loads what is installed, to see whether it can be used; but nothing that
/// others can change.
///
/// @param header Leave it out: where this header lies, which tells a program with a static onloop the installation.
[[nodiscard]] ONLOOP_API std::vector<LoopInfo> available_loops(const char* header = ONLOOP_LOOP_HEADER);

/// The loop of that name, owned; under aggregate hosting if it is not a native one. Its shim is the one that is linked
/// to the program (in the program itself: exported, by -rdynamic); else it is loaded from the directory that onloop is
/// installed to, and never unloaded. A name has lower-case letters, digits and dashes. Throws std::system_error that
/// says which names there are (EINVAL), or which file can't be used and why (ENOENT; EPERM: others can change it, or
/// a directory or link on its path; ENOEXEC, EPROTO: it is no shim, or of another version).
///
/// @param header Leave it out, as above.
[[nodiscard]] ONLOOP_API Loop loop_by_name(std::string_view name, const char* header = ONLOOP_LOOP_HEADER);

}  // namespace onloop
