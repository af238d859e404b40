#pragma once
#include <onloop/context.hpp>
#include <onloop/loop.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace onloop::conformance {

using namespace std::chrono_literals;

/// How the kit gets at a loop. The author of a shim derives one class for each way of using the shim, and names those
/// that are to be tested; the kit, which is compiled into that program, brings the cases and main():
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
/// A provider is made for each test, with the foreign loop, if there is one, and freed after it.
class Provider {
 public:
  Provider() = default;
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;
  virtual ~Provider() = default;

  /// The loop under test. Each call gives the same foreign loop, or another owned one.
  [[nodiscard]] virtual Loop loop() = 0;

  /// Whether the application does the iterating: iterate() is called instead of Context::run(). So it is for a foreign
  /// loop, and for a context that is driven by its fd() and dispatch().
  [[nodiscard]] virtual bool application_drives() { return loop().foreign() != nullptr; }
  /// One iteration of the application's loop, which waits for at most max_wait (negative: no limit). `context` is the
  /// one under test, null where a test uses the bare ops.
  virtual void iterate(Context* context, std::chrono::nanoseconds max_wait);

  /// Runs `callback` in the next iterate(), as a callback of the application's own: a timer of the host's that is due.
  virtual void call_from_application(std::function<void()> callback);
  /// Calls `callback` from the application's own watch whenever `fd` is readable, until `fd` is -1.
  virtual void watch_from_application(int fd, std::function<void()> callback);
  /// How many kinds of sources the host has that are served after those of the default priority: redrawing, idle.
  [[nodiscard]] virtual int idle_levels() { return 0; }
  /// Calls `callback` from such a source, which is always ready, until `callback` is empty. Levels count from 0.
  virtual void call_when_idle(int level, std::function<void()> callback);
  /// How many handles, sources or events the host holds, the application's included; 0 where it can't be asked.
  [[nodiscard]] virtual int host_objects() { return 0; }
  /// Whether the host's run call would go on now because of the guest; only for hosts that have keepalive.
  [[nodiscard]] virtual bool kept_alive() { return true; }

  /// Whether a turn is a whole batch: timers, then I/O, then tasks. Not so under direct hosting in a foreign loop.
  [[nodiscard]] virtual bool whole_batches() {
    return loop().hosting() == Hosting::aggregate || (!loop().foreign() && loop().ops().turn);
  }

  /// Why a case of CONFORMANCE.md ("65", "87a") is not for this provider; empty if it is. It is listed at the end.
  [[nodiscard]] virtual std::string exception(std::string_view case_number);
};

struct ProviderCase {
  std::string name;  ///< letters, digits and underscores
  std::function<std::unique_ptr<Provider>()> make;
};
inline void PrintTo(const ProviderCase& provider, std::ostream* out) {  // NOLINT: GoogleTest's name
  *out << provider.name;
}

[[nodiscard]] inline Loop hosted(const Loop& loop, Hosting hosting) {
  return loop.hosted(hosting);
}

template <class P, class... A>
ProviderCase make_case(std::string name, A... arguments) {
  return {std::move(name), [=] { return std::make_unique<P>(arguments...); }};
}

/// An owned loop that needs nothing around it.
class Owned : public Provider {
 public:
  Owned(Hosting hosting, Loop (*make)() noexcept) : hosting_(hosting), make_(make) {}
  Loop loop() override { return hosted(make_(), hosting_); }

 private:
  Hosting hosting_;
  Loop (*make_)() noexcept;
};

/// Puts providers under the cases that are written against the bare ops, and under those written against a Context.
/// True. For initialisers of namespace scope: the macros.
bool test_ops(const std::vector<ProviderCase>& cases);
bool test_contexts(const std::vector<ProviderCase>& cases);

/// At namespace scope, after the cases. The bare ops can only be tested under direct hosting.
#define ONLOOP_CONFORMANCE_OPS(name, cases) \
  static const bool onloop_ops_of_##name = ::onloop::conformance::test_ops(cases)
#define ONLOOP_CONFORMANCE_CONTEXT(name, cases) \
  static const bool onloop_contexts_of_##name = ::onloop::conformance::test_contexts(cases)

}  // namespace onloop::conformance
