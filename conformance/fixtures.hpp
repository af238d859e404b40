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

/// A case that runs against one provider. The name of each test consists of the number of the case in
/// docs/conformance.md and the behaviour, for example C12_zero_interest_is_silent. A case leaves nothing of the process
/// changed. It also frees the application's loop.
class Case : public test::CleanTestWithParam<ProviderCase> {
 protected:
  void SetUp() override;
  void TearDown() override;
  [[nodiscard]] Provider& provider() { return *provider_; }

 private:
  std::unique_ptr<Provider> provider_;
};

/// Cases against the bare ops, with a RawGuest.
class Ops : public Case {};

/// Cases against the bare ops that need deadline_set. A shim may lack that slot.
class OpsWithDeadline : public Ops {
 protected:
  void SetUp() override;
};

/// Cases against a Context on the loop.
class OnContext : public Case {
 protected:
  [[nodiscard]] Loop loop() { return provider().loop(); }
  /// Iterates until finish(), by Context::run() or in the way of the application. After `limit` the test fails.
  void run(Context& context, std::chrono::milliseconds limit = 10s);
  /// Ends run() in the current turn. Callbacks call it. It must be called before the context is destroyed.
  void finish();
  /// Iterates until `done` returns true. A timer asks it each millisecond.
  ///
  /// @return False if `limit` passed first.
  [[nodiscard]] bool until(Context& context, const std::function<bool()>& done, std::chrono::milliseconds limit = 10s);
  /// Makes `count` turns without waiting.
  void turns(Context& context, int count = 12);
  /// Iterates the loop that the context is on until `done` returns true. The context may move to another loop
  /// meanwhile.
  [[nodiscard]] bool anywhere(Context& context, const std::function<bool()>& done,
                              std::chrono::milliseconds limit = 10s);
  /// @return The loops to which a context on this loop can move: the native loops, and this loop with its other
  /// hosting.
  [[nodiscard]] std::vector<Loop> neighbours();
  /// Iterates the application's loop without a context, if the application drives the loop. On an owned loop it does
  /// nothing.
  void host_turns(int count = 12);

 private:
  Context* running_ = nullptr;
  bool finished_ = false;
};

/// @return True if both are the same loop with the same hosting.
[[nodiscard]] bool same_loop(const Loop& one, const Loop& other);

/// Runs `body` in a forked child. The child does not return to anything of the parent: it runs no destructor and no
/// exit handler.
///
/// @return An empty string if `body` returned true within 10 s. Otherwise the text says what went wrong.
[[nodiscard]] std::string in_child(const std::function<bool()>& body);

/// Calls `call` and expects that the exception has a message besides that of its error code.
///
/// @return The error code of the exception that `call` throws. No error if it throws none.
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
