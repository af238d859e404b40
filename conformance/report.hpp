#pragma once
#include <string>
#include <string_view>

namespace onloop::conformance {

/// @return The number in the name of a test: "87a" of "C87a_work_left…/native". Empty if the name has no number.
[[nodiscard]] std::string case_number(std::string_view test_name);

/// Adds an exception and its reason to the table at the end of the run. The table shows the cases of each provider.
void report_exception(const std::string& provider, const std::string& case_number, const std::string& reason);

}  // namespace onloop::conformance
