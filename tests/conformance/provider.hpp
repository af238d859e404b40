#pragma once
#include <gtest/gtest.h>
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

/// How the kit gets at a loop. The author of a shim derives one class for each way of using the shim, and instantiates
/// the suites with it:
///
///     class MyProvider : public Provider {
///       Loop loop() override { return my_loop(my_host_.get()); }
///       void iterate(Context*, std::chrono::nanoseconds max_wait) override { my_host_run_once(my_host_.get(),
///       max_wait); }
///     };
///     ONLOOP_CONFORMANCE(Mine, (std::vector<ProviderCase>{make_case<MyProvider>("mine")}));
///
/// One is made for each test, with the foreign loop, if there is one, and freed after it.
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
inline void PrintTo(const ProviderCase& provider, std::ostream* out) {
  *out << provider.name;
}  // NOLINT: gtest's name

[[nodiscard]] inline Loop hosted(const Loop& loop, Hosting hosting) {
  return hosting == Hosting::aggregate ? loop.aggregate() : loop.direct();
}

template <class P, class... A>
ProviderCase make_case(std::string name, A... arguments) {
  return {std::move(name), [=] { return std::make_unique<P>(arguments...); }};
}

[[nodiscard]] inline std::string provider_name(const ::testing::TestParamInfo<ProviderCase>& info) {
  return info.param.name;
}

/// Instantiates what is written against the bare ops (Ops) and what is written against a Context on them (OnContext);
/// in the namespace onloop::conformance.
#define ONLOOP_CONFORMANCE_OPS(prefix, cases) \
  INSTANTIATE_TEST_SUITE_P(prefix, Ops, ::testing::ValuesIn(cases), provider_name)
#define ONLOOP_CONFORMANCE_CONTEXT(prefix, cases) \
  INSTANTIATE_TEST_SUITE_P(prefix, OnContext, ::testing::ValuesIn(cases), provider_name)
#define ONLOOP_CONFORMANCE(prefix, cases) \
  ONLOOP_CONFORMANCE_OPS(prefix, cases);  \
  ONLOOP_CONFORMANCE_CONTEXT(prefix, cases)

}  // namespace onloop::conformance
