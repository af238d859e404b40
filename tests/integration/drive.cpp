#include "drive.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#include <onloop/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>

namespace onloop::test {

namespace {

template <class Suits>
std::vector<LoopCase> loops_that(Suits suits) {
  std::vector<LoopCase> loops;
  std::copy_if(all_loops().begin(), all_loops().end(), std::back_inserter(loops), suits);
  return loops;
}

}  // namespace

std::vector<LoopCase> loops_with_dispatch() {
  return loops_that([](const LoopCase& loop) { return loop.make().ops().turn != nullptr; });
}

std::vector<LoopCase> loops_with_fd() {
  return loops_that([](const LoopCase& loop) { return loop.has_fd; });
}

std::vector<LoopCase> friendly_loops() {
  return loops_that([](const LoopCase& loop) { return !loop.scripted; });
}

::testing::AssertionResult run_until(Context& context, const std::function<bool()>& done,
                                     std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  bool reached = false;
  const Timer asking = context.every(1ms, [&] {
    reached = reached || done();
    if (reached || Clock::now() > deadline) context.stop();
  });
  context.run();
  if (!reached) return ::testing::AssertionFailure() << "not reached within " << limit.count() << " ms";
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult dispatch_until(Context& context, const std::function<bool()>& done,
                                          std::chrono::milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  const bool by_fd = !thrown_by([&] { return context.pollable_fd(); }).code;
  while (!done()) {
    if (Clock::now() > deadline) {
      return ::testing::AssertionFailure() << "not reached within " << limit.count() << " ms";
    }
    if (by_fd && !readable(context.pollable_fd(), 1ms)) continue;
    context.dispatch();
  }
  return ::testing::AssertionSuccess();
}

// By tasks, each of which comes in a turn of its own: a timer that is due at once takes a millisecond on some loops. If
// an exception leaves run(), a task is left over, which then does nothing.
void turns(Context& context, int count) {
  const auto turn = std::make_shared<std::function<void()>>();
  const auto next = [&context, again = std::weak_ptr(turn)] {
    context.post([again] {
      if (const auto here = again.lock()) (*here)();
    });
  };
  *turn = [&context, &count, next] {
    if (--count > 0) {
      next();
    } else {
      context.stop();
    }
  };
  next();
  context.run();
}

std::string address_of_our_own() {
  static int number = 0;
  return "unix:@onloop-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
}

bool readable(int fd, std::chrono::milliseconds limit) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) == 1;
}

Line join(Context& context, Protocol& protocol, Limits limits, Kind kind) {
  auto [ours, theirs] = connected_pair(kind);
  Connection& connection = context.adopt(ours.get(), protocol, limits);
  static_cast<void>(ours.release());
  return {Peer(std::move(theirs)), connection};
}

bool is(const std::error_code& error, std::errc code) {
  return error.value() == static_cast<int>(code) &&
         (error.category() == std::system_category() || error.category() == std::generic_category());
}

::testing::AssertionResult in_child(const std::function<void()>& body) {
  std::fflush(nullptr);
  std::array<int, 2> ends{};  // not the exit status, which Valgrind may change
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return ::testing::AssertionFailure() << "no pipe";
  const Descriptor verdicts(ends[0]);
  Descriptor reporting(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return ::testing::AssertionFailure() << "fork failed";
  if (child == 0) {
    constexpr int kOutOfTheWay = 500;  // above the numbers that a body gives to descriptors
    const int out = ::fcntl(reporting.get(), F_DUPFD_CLOEXEC, kOutOfTheWay);
    char verdict = 'x';
    try {
      body();
      verdict = ::testing::Test::HasFailure() ? 'f' : 'g';
    } catch (const std::exception& error) {
      std::printf("the child threw: %s\n", error.what());
      verdict = 't';
    }
    std::fflush(nullptr);
    [[maybe_unused]] const ssize_t sent = ::write(out, &verdict, 1);
    ::_exit(0);
  }
  reporting.reset();
  char verdict = 'd';  // died
  while (::read(verdicts.get(), &verdict, 1) < 0 && errno == EINTR) {
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (verdict == 'g') return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "the child ended with '" << verdict << "', wait status " << status;
}

}  // namespace onloop::test
