#pragma once
#include <string>
#include <string_view>

namespace onloop::conformance {

/// "87a" of "C87a_work_left…/native"; empty if it is no such name.
[[nodiscard]] std::string case_number(std::string_view test_name);

/// For the table at the end of the run: cases by provider, and each exception with its reason.
void report_exception(const std::string& provider, const std::string& case_number, const std::string& reason);

}  // namespace onloop::conformance
