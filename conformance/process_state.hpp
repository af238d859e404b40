#pragma once
#include <gtest/gtest.h>
#include <signal.h>

#include <cstddef>
#include <map>
#include <string>

namespace onloop::test {

/// What a process holds that a library could leave behind: descriptors, threads, children, signal handlers, the calling
/// thread's signal mask and the umask.
class ProcessState {
 public:
  static ProcessState take();
  /// Waits, for a bounded time, until threads that were joined have left the kernel's list as well.
  static ProcessState take_when_settled(const ProcessState& earlier);

  /// One line for each difference; empty if there is none.
  [[nodiscard]] std::string difference_to(const ProcessState& later) const;

 private:
  std::map<int, std::string> descriptors_;
  std::map<int, struct sigaction> handlers_;
  sigset_t mask_{};
  std::size_t threads_ = 0;
  bool children_ = false;
  std::string umask_;
};

/// Expects of every test that it leaves the process as it found it. A fixture with members that hold descriptors must
/// release them in its TearDown, before this one's.
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
