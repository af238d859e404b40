#pragma once
#include <gtest/gtest.h>
#include <onloop/onloop.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <onloop/conformance.hpp>
#include "conformance/descriptors.hpp"
#include "conformance/process_state.hpp"
#include "conformance/raw_guest.hpp"

namespace onloop::conformance {

/// A case against one provider. The name of each test is the case's number in docs/conformance.md and the behaviour:
/// C12_zero_interest_is_silent. Leaves nothing of the process changed, the application's loop freed included.
class Case : public test::CleanTestWithParam<ProviderCase> {
 protected:
  void SetUp() override;
  void TearDown() override;
  [[nodiscard]] Provider& provider() { return *provider_; }

 private:
  std::unique_ptr<Provider> provider_;
};

/// Against the bare ops, with a RawGuest.
class Ops : public Case {};

/// Those of them that are about deadline_set, which a shim may lack.
class OpsWithDeadline : public Ops {
 protected:
  void SetUp() override;
};

/// Against a Context on the loop.
class OnContext : public Case {
 protected:
  [[nodiscard]] Loop loop() { return provider().loop(); }
  /// Iterates, by Context::run() or as the application does, until finish(); a failure after `limit`.
  void run(Context& context, std::chrono::milliseconds limit = 10s);
  /// Ends the iterating in this turn. For callbacks; before the context is destroyed, not after.
  void finish();
  /// Iterates until `done`, which is asked from a timer each millisecond.
  [[nodiscard]] bool until(Context& context, const std::function<bool()>& done, std::chrono::milliseconds limit = 10s);
  /// So many turns without waiting.
  void turns(Context& context, int count = 12);
  /// Iterates whichever loop the context is on, also if it moves meanwhile, until `done`.
  [[nodiscard]] bool anywhere(Context& context, const std::function<bool()>& done,
                              std::chrono::milliseconds limit = 10s);
  /// Where a context on this loop can move to: the native loops, and this loop under its other hosting.
  [[nodiscard]] std::vector<Loop> neighbours();
  /// Keeps the application's loop going where it does the iterating, without a context; nothing on an owned loop.
  void host_turns(int count = 12);

 private:
  Context* running_ = nullptr;
  bool finished_ = false;
};

/// Whether `loop` is the same, hosted the same way.
[[nodiscard]] bool same_loop(const Loop& one, const Loop& other);

/// Runs `body` in a forked child; an empty string if it returned true within 10 s, else what went wrong. The child
/// returns to nothing of the parent's: no destructor, no exit handler.
[[nodiscard]] std::string in_child(const std::function<bool()>& body);

/// The error code of what `call` throws; none if it does not. Expects words in it.
template <class F>
std::error_code error_of(F&& call) {
  try {
    call();
  } catch (const std::system_error& error) {
    EXPECT_GT(std::string_view(error.what()).size(), error.code().message().size()) << "an error without its story";
    return error.code();
  }
  return {};
}
[[nodiscard]] inline bool is(const std::error_code& error, std::errc expected) {
  return error == std::make_error_condition(expected);
}

}  // namespace onloop::conformance
