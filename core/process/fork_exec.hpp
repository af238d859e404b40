#pragma once
#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace onloop::detail {

/// A program to be started by fork and exec. It is for what posix_spawn can't do: another user or group.
///
/// The caller prepares everything before the fork, because the child of a process with threads may only make system
/// calls. The caller owns everything that the members refer to.
struct ForkExec {
  const std::string& program;  // looked up in the parent's PATH if it has no slash
  char* const* arguments;      // ends with a null pointer
  char* const* environment;    // ends with a null pointer
  int directory;               // a descriptor of the child's directory, or -1 for the directory of the parent
  bool new_session;
  std::vector<std::pair<int, int>> copies;  // each descriptor and its number in the child, in rising order of numbers
  int first_free;  // higher than all these numbers, and not higher than any of these descriptors
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  const std::vector<gid_t>* groups;  // null: the child keeps the groups of the parent

  /// Starts the program. Returns its pid when the exec has succeeded. Throws std::system_error with a text that begins
  /// with `what`; there is no child then.
  [[nodiscard]] pid_t start(const std::string& what) const;
};

}  // namespace onloop::detail
