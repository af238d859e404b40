#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <onloop/onloop.hpp>

#include "conformance/process_state.hpp"
#include "peer.hpp"
#include "recorder.hpp"
#include "support/loops.hpp"

namespace onloop::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A test that runs on each loop, and leaves nothing of the process changed.
using LoopTest = CleanTestWithParam<LoopCase>;

/// A test with a context on its loop, and with two protocols that outlive the context. Tests that need a context with
/// options, several, or one that ends before something else make their own, and this one is not made.
class ContextTest : public LoopTest {
 protected:
  /// The first call makes it. It ends after the test, and then nothing of it may be left behind.
  [[nodiscard]] Context& context() {
    if (!context_) context_.emplace(GetParam().make());
    return *context_;
  }
  void TearDown() override {
    context_.reset();
    LoopTest::TearDown();
  }

  Recorder recorder_;
  Echo echo_;

 private:
  std::optional<Context> context_;
};

#define ONLOOP_ON_LOOPS(suite, loops) \
  INSTANTIATE_TEST_SUITE_P(Loops, suite, ::testing::ValuesIn(loops), ::onloop::test::loop_case_name)
#define ONLOOP_ON_ALL_LOOPS(suite) ONLOOP_ON_LOOPS(suite, ::onloop::test::all_loops())

/// The loops on which Context::dispatch() works. A loop that can only run does not know where a batch ends.
[[nodiscard]] std::vector<LoopCase> loops_with_dispatch();
/// The loops on which Context::pollable_fd() works.
[[nodiscard]] std::vector<LoopCase> loops_with_fd();
/// The loops that do not misbehave on purpose.
[[nodiscard]] std::vector<LoopCase> friendly_loops();

/// Calls run() until `done` returns true. A timer calls `done` every millisecond. Fails after `limit`.
[[nodiscard]] ::testing::AssertionResult run_until(Context& context, const std::function<bool()>& done,
                                                   std::chrono::milliseconds limit = 10s);
/// The same by dispatch(). It is called whenever pollable_fd() is readable, or again and again if the loop has no
/// descriptor.
[[nodiscard]] ::testing::AssertionResult dispatch_until(Context& context, const std::function<bool()>& done,
                                                        std::chrono::milliseconds limit = 10s);
/// Makes `count` turns of run(). No turn waits. This is enough for everything that is due. A test uses it to show that
/// nothing more happens.
void turns(Context& context, int count = 20);

/// An abstract UNIX address that no other test and no other process uses, so that after its listener has closed nobody
/// listens there. A TCP port that was given back may be another process's a moment later.
[[nodiscard]] std::string address_of_our_own();

/// True if `fd` becomes readable within `limit`.
[[nodiscard]] bool readable(int fd, std::chrono::milliseconds limit = 0ms);

/// A connection that the context adopted, and its other end.
struct Line {
  Peer peer;
  Connection& connection;
};
[[nodiscard]] Line join(Context& context, Protocol& protocol, Limits limits = {}, Kind kind = Kind::tcp);

/// The error that `call` throws, with its message. The code is empty if `call` does not throw.
struct Thrown {
  std::error_code code;
  std::string words;
};
template <class F>
[[nodiscard]] Thrown thrown_by(F&& call) {
  try {
    static_cast<void>(call());
  } catch (const std::system_error& error) {
    return {error.code(), error.what()};
  }
  return {};
}
inline std::error_code errc(std::errc code) {
  return std::make_error_code(code);
}
/// True if `code` is this errno, in either of the two standard categories.
[[nodiscard]] bool is(const std::error_code& error, std::errc code);

/// Runs `body` in a forked child and waits for it: true if no expectation of it failed and nothing was thrown.
[[nodiscard]] ::testing::AssertionResult in_child(const std::function<void()>& body);

}  // namespace onloop::test
