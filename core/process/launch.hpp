#pragma once
#include <sys/types.h>
#include <onloop/process.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "core/base/unique_fd.hpp"

namespace onloop::detail {

/// A program that is to be started, and the descriptors that it is to have. Knows no context.
class Launch {
 public:
  static constexpr std::size_t kStreams = 3;
  /// The parent's end of a Stdio::stream.
  struct End {
    UniqueFd fd;  // none: it is no such stream
    Protocol* protocol = nullptr;
    const Limits* limits = nullptr;
    std::string what;  // how an error about it begins
  };

  /// Checks the options, which must outlive it, and opens what there is to open. Throws std::system_error.
  explicit Launch(const SpawnOptions& options);

  /// "spawn PROGRAM", for errors.
  [[nodiscard]] const std::string& what() const noexcept { return what_; }
  [[nodiscard]] std::array<End, kStreams>& ends() noexcept { return ends_; }

  /// Starts it, and closes its descriptors. Throws std::system_error, and then there is no child.
  [[nodiscard]] pid_t start();

 private:
  void check_strings() const;
  void check_identity() const;
  void open_directory();
  void open_descriptors();
  [[nodiscard]] UniqueFd moved_up(UniqueFd fd) const noexcept;
  [[nodiscard]] pid_t spawn(char* const* arguments, char* const* environment) const;
  [[nodiscard]] pid_t fork_and_exec(char* const* arguments, char* const* environment) const;
  [[nodiscard]] UniqueFd open_stream(const Stdio& stdio, std::size_t number);
  [[nodiscard]] UniqueFd inherited(int number) const;
  [[nodiscard]] UniqueFd null() const;

  const SpawnOptions& options_;
  std::string what_;
  UniqueFd directory_;
  /// One that the child gets, under a number where nothing that the child gets overwrites it.
  struct Given {
    UniqueFd fd;
    int number;
  };

  int first_free_ = static_cast<int>(kStreams);  // above all numbers that the child gets
  std::vector<Given> given_;                     // in the order of their numbers
  std::array<End, kStreams> ends_;
};

}  // namespace onloop::detail
