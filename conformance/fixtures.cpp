#include "conformance/fixtures.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "conformance/report.hpp"

namespace onloop::conformance {

namespace {

// GoogleTest asks for the values when main() starts. All initialisers have run by then.
std::vector<ProviderCase>& ops_cases() {
  static std::vector<ProviderCase> cases;
  return cases;
}
std::vector<ProviderCase>& context_cases() {
  static std::vector<ProviderCase> cases;
  return cases;
}
std::string name_of(const ::testing::TestParamInfo<ProviderCase>& provider) {
  return provider.param.name;
}

INSTANTIATE_TEST_SUITE_P(Kit, Ops, ::testing::ValuesIn(ops_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Kit, OpsWithDeadline, ::testing::ValuesIn(ops_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Kit, OnContext, ::testing::ValuesIn(context_cases()), name_of);

std::string current_case() {
  return case_number(::testing::UnitTest::GetInstance()->current_test_info()->name());
}

}  // namespace

bool test_ops(const std::vector<ProviderCase>& cases) {
  ops_cases().insert(ops_cases().end(), cases.begin(), cases.end());
  return true;
}

bool test_contexts(const std::vector<ProviderCase>& cases) {
  context_cases().insert(context_cases().end(), cases.begin(), cases.end());
  return true;
}

void Case::SetUp() {
  CleanTestWithParam::SetUp();
  provider_ = GetParam().make();
  const std::string number = current_case();
  if (const std::string reason = provider_->exception(number); !reason.empty()) {
    report_exception(GetParam().name, number, reason);
    GTEST_SKIP() << "case " << number << " is not for " << GetParam().name << ": " << reason;
  }
}

void OpsWithDeadline::SetUp() {
  Ops::SetUp();
  if (IsSkipped() || provider().loop().ops().deadline_set) return;
  report_exception(GetParam().name, current_case(), "the loop has no deadlines: the core watches a timerfd instead");
  GTEST_SKIP() << "no deadline_set";
}

void Case::TearDown() {
  provider_.reset();
  CleanTestWithParam::TearDown();
}

void OnContext::run(Context& context, std::chrono::milliseconds limit) {
  finished_ = false;
  running_ = &context;
  if (provider().application_drives()) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!finished_) {
      const auto left = end - std::chrono::steady_clock::now();
      if (left <= 0ns) {
        ADD_FAILURE() << "what was to happen did not within " << limit.count() << " ms";
        return;
      }
      provider().iterate(&context, left);
    }
    return;
  }
  const Timer guard = context.timer(limit, [&context, limit] {
    ADD_FAILURE() << "what was to happen did not within " << limit.count() << " ms";
    context.stop();
  });
  context.run();
}

void OnContext::finish() {
  finished_ = true;
  if (!provider().application_drives()) running_->stop();
}

bool OnContext::until(Context& context, const std::function<bool()>& done, std::chrono::milliseconds limit) {
  if (done()) return true;
  const auto end = std::chrono::steady_clock::now() + limit;
  bool reached = false;
  const Timer check = context.every(1ms, [&] {
    reached = done();
    if (reached || std::chrono::steady_clock::now() > end) finish();
  });
  run(context, limit + 10s);
  return reached;
}

void OnContext::turns(Context& context, int count) {
  for (int i = 0; i < count; ++i) {
    if (provider().application_drives()) {
      provider().iterate(&context, 0ns);
    } else if (context.loop().ops().turn) {
      context.dispatch();
    } else {  // a timer of zero fires after I/O was served
      const Timer end = context.timer(0ns, [&context] { context.stop(); });
      context.run();
    }
  }
}

bool OnContext::anywhere(Context& context, const std::function<bool()>& done, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  bool reached = false;
  const auto over = [&] {
    reached = reached || done();
    return reached || std::chrono::steady_clock::now() > end;
  };
  const Timer check = context.every(500us, [&] {
    if (over() && !context.loop().foreign()) context.stop();
  });
  while (!over()) {
    const bool at_home = same_loop(context.loop(), loop());
    if (context.loop().foreign() || (at_home && provider().application_drives())) {
      provider().iterate(&context, 10ms);
    } else {
      context.run();
    }
  }
  return reached;
}

std::vector<Loop> OnContext::neighbours() {
  const Loop home = loop();
  std::vector<Loop> all{native(), native_poll(), native().aggregate()};
  std::erase_if(all, [&](const Loop& other) { return same_loop(other, home); });
  const Loop rehosted = hosted(home, home.hosting() == Hosting::direct ? Hosting::aggregate : Hosting::direct);
  const bool known = std::any_of(all.begin(), all.end(), [&](const Loop& other) { return same_loop(other, rehosted); });
  if (!known && provider().exception("95a").empty()) all.push_back(rehosted);
  return all;
}

void OnContext::host_turns(int count) {
  for (int i = 0; i < count && provider().application_drives(); ++i) provider().iterate(nullptr, 0ns);
}

bool same_loop(const Loop& one, const Loop& other) {
  return &one.ops() == &other.ops() && one.foreign() == other.foreign() && one.hosting() == other.hosting();
}

std::string in_child(const std::function<bool()>& body) {
  Pair report = socket_pair();  // not by the exit status, since Valgrind changes it
  const pid_t child = ::fork();
  if (child < 0) return std::string("fork: ") + std::strerror(errno);
  if (child == 0) {
    try {
      put(report.far.get(), body() && !::testing::Test::HasFailure() ? "good" : "bad");
    } catch (const std::exception& error) {
      put(report.far.get(), error.what());
    }
    ::_exit(0);
  }
  report.far.reset();
  pollfd ended{report.near.get(), POLLIN, 0};
  const bool in_time = ::poll(&ended, 1, 10'000) == 1;
  if (!in_time) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!in_time) return "the child did not end within 10 s";
  const std::string said = take(report.near.get());
  return said == "good" ? "" : "the child said: " + (said.empty() ? "nothing" : said);
}

}  // namespace onloop::conformance
