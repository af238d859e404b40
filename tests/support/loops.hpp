#pragma once
#include <gtest/gtest.h>
#include <onloop/loop.hpp>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace onloop::test {

/// A loop to run a test on. It is a parameter for tests that need only that Context::run() works on the loop.
struct LoopCase {
  std::string name;            ///< letters, digits and underscores
  std::function<Loop()> make;  ///< makes an owned loop; may be called often, and several contexts may live at a time
  bool has_fd = false;         ///< whether Context::pollable_fd() works
  bool scripted = false;
};

/// The loops: native, native-poll, an owned loop of each shim that was built (direct and aggregate), and scripted loops
/// with different seeds, misbehaviours and absent slots.
[[nodiscard]] const std::vector<LoopCase>& all_loops();

/// The name of a parameter. It is the last argument of INSTANTIATE_TEST_SUITE_P.
[[nodiscard]] inline std::string loop_case_name(const ::testing::TestParamInfo<LoopCase>& info) {
  return info.param.name;
}

inline void PrintTo(const LoopCase& loop, std::ostream* out) {
  *out << loop.name;
}  // NOLINT: GoogleTest's name

}  // namespace onloop::test
