#pragma once
#include <gtest/gtest.h>
#include <signal.h>

#include <cstddef>
#include <map>
#include <string>

namespace onloop::test {

/// The parts of a process that a library could leave changed: descriptors, threads, children, signal handlers, the
/// signal mask of the calling thread, and the umask.
class ProcessState {
 public:
  static ProcessState take();
  /// Waits for a limited time until the kernel has removed joined threads from its list, and then takes the state.
  static ProcessState take_when_settled(const ProcessState& earlier);

  /// @return One line for each difference. Empty if there is none.
  [[nodiscard]] std::string difference_to(const ProcessState& later) const;

 private:
  std::map<int, std::string> descriptors_;
  std::map<int, struct sigaction> handlers_;
  sigset_t mask_{};
  std::size_t threads_ = 0;
  bool children_ = false;
  std::string umask_;
};

/// Expects of every test that it leaves the process unchanged. If a fixture has members that hold descriptors, its
/// TearDown must release them before it calls this TearDown.
template <class Base>
class Clean : public Base {
 protected:
  void SetUp() override {
    Base::SetUp();
    before_ = ProcessState::take();
  }
  void TearDown() override {
    EXPECT_EQ(before_.difference_to(ProcessState::take_when_settled(before_)), "");
    Base::TearDown();
  }

 private:
  ProcessState before_;
};

class CleanTest : public Clean<::testing::Test> {};

template <class T>
class CleanTestWithParam : public Clean<::testing::TestWithParam<T>> {};

}  // namespace onloop::test
