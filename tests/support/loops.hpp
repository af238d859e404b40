#pragma once
#include <gtest/gtest.h>
#include <onloop/loop.hpp>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace onloop::test {

/// A loop to run a test on: a parameter for tests that need nothing of it but that Context::run() works.
struct LoopCase {
  std::string name;            ///< letters, digits and underscores
  std::function<Loop()> make;  ///< a loop that the shim owns; may be called often, contexts may live side by side
  bool has_fd = false;         ///< whether Context::fd() works
  bool scripted = false;
};

/// native, native-poll, an owned loop of each shim that was built, direct and aggregate, and the scripted loop with
/// different seeds, misbehaviours and absent slots.
[[nodiscard]] const std::vector<LoopCase>& all_loops();

/// The last argument of INSTANTIATE_TEST_SUITE_P.
[[nodiscard]] inline std::string loop_case_name(const ::testing::TestParamInfo<LoopCase>& info) {
  return info.param.name;
}

inline void PrintTo(const LoopCase& loop, std::ostream* out) {
  *out << loop.name;
}  // NOLINT: GoogleTest's name

}  // namespace onloop::test
