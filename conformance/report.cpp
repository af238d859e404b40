#include "conformance/report.hpp"

#include <gtest/gtest.h>

#include <cctype>
#include <cstddef>
#include <cstdio>
#include <map>
#include <set>

namespace onloop::conformance {
namespace {

struct Row {
  std::set<std::string> cases;
  int tests = 0;
  int failed = 0;
  std::map<std::string, std::set<std::string>> exceptions;  // from the reason to the numbers of the cases
};

std::map<std::string, Row>& rows() {
  static std::map<std::string, Row> all;
  return all;
}

class Table : public ::testing::EmptyTestEventListener {
  void OnTestEnd(const ::testing::TestInfo& test) override {
    const std::string name = test.name();
    const std::string number = case_number(name);
    const std::size_t slash = name.find('/');
    if (!std::string_view(test.test_suite_name()).starts_with("Kit/") || test.result()->Skipped()) return;
    Row& row = rows()[name.substr(slash + 1)];
    if (!number.empty()) row.cases.insert(number);
    ++row.tests;
    if (test.result()->Failed()) ++row.failed;
  }

  void OnTestIterationEnd(const ::testing::UnitTest&, int) override {
    if (rows().empty()) return;
    std::printf("\n%-28s %7s %7s %7s  exceptions\n", "provider", "cases", "tests", "failed");
    for (const auto& [provider, row] : rows()) {
      std::printf("%-28s %7zu %7d %7d", provider.c_str(), row.cases.size(), row.tests, row.failed);
      const char* indent = "  ";
      for (const auto& [reason, numbers] : row.exceptions) {
        std::printf("%s", indent);
        for (const std::string& number : numbers) std::printf("%s ", number.c_str());
        std::printf("(%s)\n", reason.c_str());
        indent = "                                                      ";
      }
      if (row.exceptions.empty()) std::printf("  none\n");
    }
    rows().clear();
  }
};

const bool kListening = (::testing::UnitTest::GetInstance()->listeners().Append(new Table), true);

}  // namespace

std::string case_number(std::string_view test_name) {
  if (test_name.empty() || test_name[0] != 'C') return {};
  const std::size_t end = test_name.find('_');
  const std::string number{test_name.substr(1, end == std::string_view::npos ? end : end - 1)};
  return !number.empty() && std::isdigit(static_cast<unsigned char>(number[0])) ? number : std::string{};
}

void report_exception(const std::string& provider, const std::string& case_number, const std::string& reason) {
  static_cast<void>(kListening);
  rows()[provider].exceptions[reason].insert(case_number);
}

}  // namespace onloop::conformance
