#pragma once
#include <optional>
#include <string>
#include <utility>

#include "drive.hpp"

namespace onloop::test {

/// Whether there are pidfds: Valgrind 3.19 does not know them, whatever the kernel does.
[[nodiscard]] bool has_pidfds();

/// A test that starts children, as `Base` otherwise.
template <class Base>
class WithChildren : public Base {
 protected:
  void SetUp() override {
    Base::SetUp();
    if (!has_pidfds()) GTEST_SKIP() << "no pidfd_open(2) here";
  }
};

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
