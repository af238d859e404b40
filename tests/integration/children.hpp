#pragma once
#include <optional>
#include <string>
#include <utility>

#include "drive.hpp"

namespace onloop::test {

/// What on_exit was told, and how often.
struct Ending {
  std::optional<ExitStatus> status;
  int calls = 0;
  [[nodiscard]] auto note() {
    return [this](ExitStatus came) {
      status = came;
      ++calls;
    };
  }
};

/// What a shell is to do.
[[nodiscard]] inline SpawnOptions shell(std::string script) {
  SpawnOptions options;
  options.arguments = {"/bin/sh", "-c", std::move(script)};
  return options;
}

/// A program that goes on until it is killed.
[[nodiscard]] inline SpawnOptions endless() {
  SpawnOptions options;
  options.arguments = {"sleep", "100000"};
  return options;
}

/// Runs it to its end, and returns what it has written to standard output.
[[nodiscard]] std::string output_of(Context& context, SpawnOptions options);

/// Whether this process has a child, dead or alive; looks without reaping.
[[nodiscard]] bool has_children();

/// Waits for the end of that process, and leaves it unreaped.
void wait_for_end(pid_t pid);

}  // namespace onloop::test
