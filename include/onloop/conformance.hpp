#pragma once
/// @file
/// The conformance kit: the tests that every shim must pass, and what the author of a shim gives to them.
#include <onloop/context.hpp>
#include <onloop/loop.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

/// The conformance kit. Begin with Provider.
namespace onloop::conformance {

using namespace std::chrono_literals;

/// The access of the conformance kit to a loop. The author of a shim derives one class from Provider for each way of
/// using the shim, and names the providers to test. The kit is compiled into that test program. It adds the test cases
/// and main():
///
///     class MyApplication : public Provider {
///       explicit MyApplication(Hosting hosting) : hosting_(hosting) {}
///       Loop loop() override { return hosted(my_loop(&host_), hosting_); }
///       void iterate(Context*, std::chrono::nanoseconds max_wait) override { my_host_run_once(&host_, max_wait); }
///       …
///     };
///     const std::vector<ProviderCase> kOps{make_case<MyApplication>("mine", Hosting::direct)};
///     const std::vector<ProviderCase> kContexts{make_case<MyApplication>("mine_direct", Hosting::direct),
///                                               make_case<MyApplication>("mine_aggregate", Hosting::aggregate)};
///     ONLOOP_CONFORMANCE_OPS(mine, kOps);
///     ONLOOP_CONFORMANCE_CONTEXT(mine, kContexts);
///
/// With CMake: find_package(onloop COMPONENTS conformance), then onloop_conformance(my_test my_provider.cpp).
///
/// The kit makes a provider for each test, together with the foreign loop if there is one. It frees the provider after
/// the test.
class Provider {
 public:
  /// Makes a provider, together with the foreign loop that loop() returns.
  Provider() = default;
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;
  /// Frees the provider, together with its foreign loop.
  virtual ~Provider() = default;

  /// @return The loop under test. For a foreign loop, each call returns the same loop. For an owned loop, each call
  /// returns another loop.
  [[nodiscard]] virtual Loop loop() = 0;

  /// @return True if the application iterates the loop. The kit then calls iterate() instead of Context::run(). This is
  /// so for a foreign loop, and for a context that is driven by its pollable_fd() and dispatch().
  [[nodiscard]] virtual bool application_drives() { return loop().foreign() != nullptr; }
  /// Makes one iteration of the application's loop.
  /// @param context The context under test. It is null where a test uses the bare ops.
  /// @param max_wait How long the iteration may wait. A negative value means no limit.
  virtual void iterate(Context* context, std::chrono::nanoseconds max_wait);

  /// Runs `callback` in the next iterate(), as a callback of the application. Use a timer of the host that is due.
  virtual void call_from_application(std::function<void()> callback);
  /// Calls `callback` from a watch of the application whenever `fd` is readable. The watch lasts until this function is
  /// called with an `fd` of -1.
  virtual void watch_from_application(int fd, std::function<void()> callback);
  /// @return The number of kinds of sources of the host that are served after the sources of the default priority, such
  /// as redrawing and idle.
  [[nodiscard]] virtual int idle_levels() { return 0; }
  /// Calls `callback` from a source of this kind. The source is always ready. It lasts until this function is called
  /// with an empty `callback`.
  /// @param level The kind of source. Levels count from 0.
  /// @param callback The callable, or an empty one to end the source.
  virtual void call_when_idle(int level, std::function<void()> callback);
  /// @return The number of handles, sources or events that the host holds, including those of the application. It is 0
  /// where the host cannot be asked.
  [[nodiscard]] virtual int host_objects() { return 0; }
  /// @return True if the host's run call would go on now because of the guest. This is used only for hosts that have
  /// keepalive.
  [[nodiscard]] virtual bool kept_alive() { return true; }

  /// @return True if a turn is a whole batch: timers, then I/O, then tasks. It is not under direct hosting on a foreign
  /// loop.
  [[nodiscard]] virtual bool whole_batches() {
    return loop().hosting() == Hosting::aggregate || (!loop().foreign() && loop().ops().turn);
  }

  /// @param case_number A number of a case, such as "65" or "87a", as in docs/conformance.md.
  /// @return The reason why this case does not apply to this provider. It is empty if the case applies. The kit lists
  /// the reasons at the end.
  [[nodiscard]] virtual std::string exception(std::string_view case_number);
};

/// One way of using a shim, which the kit tests. make_case() makes it.
struct ProviderCase {
  std::string name;                                 ///< letters, digits and underscores
  std::function<std::unique_ptr<Provider>()> make;  ///< makes the provider for one test
};
/// Prints the name of a case in GoogleTest's messages.
inline void PrintTo(const ProviderCase& provider, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << provider.name;
}

/// @return `loop` with the given hosting (Loop::hosted).
[[nodiscard]] inline Loop hosted(const Loop& loop, Hosting hosting) {
  return loop.hosted(hosting);
}

/// Makes the case `name`, whose provider is a P that is made of `arguments`. For each test the kit makes another P, so
/// the arguments are copied.
template <class P, class... A>
ProviderCase make_case(std::string name, A... arguments) {
  return {std::move(name), [=] { return std::make_unique<P>(arguments...); }};
}

/// A provider for an owned loop that needs nothing around it.
class Owned : public Provider {
 public:
  /// A provider of the loops that `make` returns, such as onloop::libuv, with the given hosting.
  Owned(Hosting hosting, Loop (*make)() noexcept) : hosting_(hosting), make_(make) {}
  /// @return A new owned loop, by `make`.
  Loop loop() override { return hosted(make_(), hosting_); }

 private:
  Hosting hosting_;
  Loop (*make_)() noexcept;
};

/// Registers providers for the cases that use the bare ops. ONLOOP_CONFORMANCE_OPS uses this function as an initialiser
/// at namespace scope.
/// @return True.
bool test_ops(const std::vector<ProviderCase>& cases);
/// Registers providers for the cases that use a Context. ONLOOP_CONFORMANCE_CONTEXT uses this function as an
/// initialiser at namespace scope.
/// @return True.
bool test_contexts(const std::vector<ProviderCase>& cases);

/// Tests the bare ops with `cases`, a vector of ProviderCase. Use this macro at namespace scope, after the provider
/// cases. The bare ops can only be tested under direct hosting. `name` is an identifier, another one for each use.
#define ONLOOP_CONFORMANCE_OPS(name, cases) \
  static const bool onloop_ops_of_##name = ::onloop::conformance::test_ops(cases)
/// Tests a Context with `cases`, a vector of ProviderCase. Use this macro at namespace scope, after the provider cases.
/// `name` is an identifier, another one for each use.
#define ONLOOP_CONFORMANCE_CONTEXT(name, cases) \
  static const bool onloop_contexts_of_##name = ::onloop::conformance::test_contexts(cases)

}  // namespace onloop::conformance
