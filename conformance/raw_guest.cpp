#include "conformance/raw_guest.hpp"

#include <gtest/gtest.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace onloop::conformance {
namespace {

std::uint64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

template <class F>
auto RawGuest::slot(F call) {
  struct Count {
    int& slots;
    ~Count() { --slots; }
  } const count{++slots_};
  return call();
}

RawGuest::RawGuest(Provider& provider) : provider_(provider), loop_of_provider_(provider.loop()) {
  const onloop_guest guest{.version = ONLOOP_OPS_VERSION,
                           .struct_size = sizeof(onloop_guest),
                           .context = this,
                           .on_ready = ready_call,
                           .on_deadline = deadline_call};
  const int result = slot([&] { return ops().attach(&guest, loop_of_provider_.foreign(), &loop_); });
  if (result < 0) throw std::runtime_error(std::string("attach: ") + std::strerror(-result));
  if (provider_.application_drives() || ops().turn) return;
  pulse_ = Descriptor{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  pulse_watch_ = &add(pulse_.get(), ONLOOP_READ);
}

RawGuest::~RawGuest() {
  detach();
}

void RawGuest::detach() {
  if (!loop_) return;
  for (Watch& watch : watches_) {
    if (watch.handle) remove(watch);
  }
  onloop_loop* loop = std::exchange(loop_, nullptr);
  slot([&] { ops().detach(loop); });
}

RawGuest::Watch& RawGuest::add(int fd, std::uint32_t interest, std::function<void(std::uint32_t)> on_ready) {
  Watch& watch = watches_.emplace_back(Watch{*this, fd, interest, std::move(on_ready)});
  const int result = slot([&] { return ops().watch_add(loop_, fd, interest, &watch, &watch.handle); });
  EXPECT_EQ(result, 0) << "watch_add: " << std::strerror(-result);
  return watch;
}

void RawGuest::set(Watch& watch, std::uint32_t interest) {
  watch.interest = interest;
  const int result = slot([&] { return ops().watch_set(loop_, watch.handle, interest); });
  EXPECT_EQ(result, 0) << "watch_set: " << std::strerror(-result);
}

int RawGuest::try_add(int fd, std::uint32_t interest) {
  Watch& watch = watches_.emplace_back(Watch{*this, fd, interest, {}});
  const int result = slot([&] { return ops().watch_add(loop_, fd, interest, &watch, &watch.handle); });
  if (result == 0) remove(watch);
  return result;
}

int RawGuest::try_set(Watch& watch, std::uint32_t interest) {
  const int result = slot([&] { return ops().watch_set(loop_, watch.handle, interest); });
  if (result == 0) watch.interest = interest;
  return result;
}

void RawGuest::remove(Watch& watch) {
  slot([&] { ops().watch_remove(loop_, std::exchange(watch.handle, nullptr)); });
}

void RawGuest::deadline_in(std::chrono::nanoseconds delay) {
  deadline_at(static_cast<std::uint64_t>(static_cast<std::int64_t>(monotonic_ns()) + delay.count()));
}

void RawGuest::deadline_at(std::uint64_t at) {
  if (!ops().deadline_set) return;
  deadline = at;
  const int result = slot([&] { return ops().deadline_set(loop_, at); });
  EXPECT_EQ(result, 0) << "deadline_set: " << std::strerror(-result);
}

void RawGuest::called() {
  ++calls;
  EXPECT_EQ(slots_, 0) << "an up-call came from within a slot";
  EXPECT_NE(loop_, nullptr) << "an up-call came after detach";
}

void RawGuest::ready_call(void* context, std::uint32_t readiness) {
  Watch& watch = *static_cast<Watch*>(context);
  RawGuest& self = watch.guest;
  if (&watch == self.pulse_watch_) {
    take(self.pulse_.get());
    self.slot([&] { self.ops().stop(self.loop_); });
    return;
  }
  self.called();
  EXPECT_NE(watch.handle, nullptr) << "on_ready came for a watch that is removed, descriptor " << watch.fd;
  EXPECT_NE(readiness, 0u) << "on_ready came for no direction";
  EXPECT_EQ(readiness & ~(watch.interest | ONLOOP_ERROR), 0u) << "on_ready came for a direction that is not requested";
  ++watch.calls;
  watch.readiness |= readiness;
  if (watch.on_ready) watch.on_ready(readiness);
  if (self.pulse_watch_ && self.loop_) self.slot([&] { self.ops().stop(self.loop_); });
}

void RawGuest::deadline_call(void* context) {
  RawGuest& self = *static_cast<RawGuest*>(context);
  self.called();
  ++self.deadlines;
  EXPECT_NE(self.deadline, ONLOOP_NO_DEADLINE) << "on_deadline came and none is set";
  EXPECT_GE(monotonic_ns(), self.deadline) << "on_deadline came early";
  self.deadline = ONLOOP_NO_DEADLINE;  // the deadline is one-shot: the shim disarms it before the call
  if (self.on_deadline) self.on_deadline();
  if (self.pulse_watch_ && self.loop_) self.slot([&] { self.ops().stop(self.loop_); });
}

void RawGuest::turn(std::chrono::nanoseconds max_wait) {
  if (!loop_) return;
  if (provider_.application_drives()) {
    provider_.iterate(nullptr, max_wait);
  } else if (ops().turn) {
    EXPECT_EQ(ops().turn(loop_, max_wait.count()), 0);
  } else {
    const auto wait = std::max<std::int64_t>(max_wait.count(), 1);  // zero would disarm the timerfd
    const itimerspec when{{}, {wait / 1'000'000'000, wait % 1'000'000'000}};
    ::timerfd_settime(pulse_.get(), 0, &when, nullptr);
    EXPECT_EQ(ops().run(loop_), 0);
  }
}

bool RawGuest::until(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds{limit}.count());
  while (!done()) {
    const std::uint64_t now = monotonic_ns();
    if (now >= end || !loop_) return false;
    turn(std::chrono::nanoseconds{end - now});
  }
  return true;
}

void RawGuest::expect_silence(int turns) {
  const int before = calls;
  for (int i = 0; i < turns; ++i) turn();
  EXPECT_EQ(calls, before) << "something was called that should be silent";
}

void RawGuest::expect_sleep(std::chrono::milliseconds time) {
  const auto length = static_cast<std::uint64_t>(std::chrono::nanoseconds{time}.count());
  const int before = calls;
  const std::uint64_t busy = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  const std::uint64_t end = monotonic_ns() + length;
  int turns = 0;
  for (std::uint64_t now = monotonic_ns(); now < end; now = monotonic_ns(), ++turns) {
    turn(std::chrono::nanoseconds{end - now});
  }
  EXPECT_LE(turns, 3) << "the loop did not sleep";
  EXPECT_LT(clock_ns(CLOCK_THREAD_CPUTIME_ID) - busy, length / 2) << "the loop spun instead of sleeping";
  EXPECT_EQ(calls, before) << "something was called that should be silent";
}

}  // namespace onloop::conformance
