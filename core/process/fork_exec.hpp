#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace onloop::detail {

/// A program to be started by fork and exec, for what posix_spawn can't do: another user or group. All of it is
/// prepared, since the child of a process with threads may only make system calls.
struct ForkExec {
  const std::string& program;  // looked up in the parent's PATH if it has no slash
  char* const* arguments;
  char* const* environment;
  int directory;  // open, or -1: where the parent is
  bool new_session;
  std::vector<std::pair<int, int>> copies;  // each descriptor, and its number in the child, in rising order
  int first_free;                           // above all those numbers, and below or at each of those descriptors
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  const std::vector<gid_t>* groups;  // null: as they are

  /// Starts it. Throws std::system_error that begins with `what`, and then there is no child.
  [[nodiscard]] pid_t start(const std::string& what) const;
};

}  // namespace onloop::detail
