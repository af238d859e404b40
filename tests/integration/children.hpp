#pragma once
#include <optional>
#include <string>
#include <utility>

#include "drive.hpp"

namespace onloop::test {

/// True if pidfds work. Valgrind 3.19 does not support them, even if the kernel does.
[[nodiscard]] bool has_pidfds();

/// A test that starts child processes. Otherwise it is like `Base`.
template <class Base>
class WithChildren : public Base {
 protected:
  void SetUp() override {
    Base::SetUp();
    if (!has_pidfds()) GTEST_SKIP() << "no pidfd_open(2) here";
  }
};

/// Notes the exit status that on_exit got, and the number of its calls.
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

/// The options for a shell that runs this script.
[[nodiscard]] inline SpawnOptions shell(std::string script) {
  SpawnOptions options;
  options.arguments = {"/bin/sh", "-c", std::move(script)};
  return options;
}

/// The options for a program that runs until it is killed.
[[nodiscard]] inline SpawnOptions endless() {
  SpawnOptions options;
  options.arguments = {"sleep", "100000"};
  return options;
}

/// Runs a child to its end. Returns what the child has written to standard output.
[[nodiscard]] std::string output_of(Context& context, SpawnOptions options);

/// True if this process has a child, dead or alive. The call does not reap children.
[[nodiscard]] bool has_children();

/// Waits until this process has ended, and does not reap it.
void wait_for_end(pid_t pid);

}  // namespace onloop::test
