#include "core/runtime/deadline.hpp"

#include <sys/timerfd.h>

#include <algorithm>
#include <utility>

#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

int Deadline::change(LoopAttachment& loop, std::uint64_t at) noexcept {
  if (!timer_) {
    int result = loop.deadline_set(at);
    if (result >= 0) set_ = at;
    if (result != -ENOSYS) return result;
    try {
      use_timerfd();
    } catch (const std::system_error& error) {
      return -error.code().value();
    }
  }
  const int result = arm(timer_, at);
  if (result >= 0) set_ = at;
  return result;
}

int Deadline::arm(const Descriptor& timer, std::uint64_t at) noexcept {
  itimerspec when{};
  if (at != ONLOOP_NO_DEADLINE) {
    const std::uint64_t moment = std::max<std::uint64_t>(at, 1);  // a time of zero would disarm the timer
    when.it_value = {static_cast<time_t>(moment / 1'000'000'000u), static_cast<long>(moment % 1'000'000'000u)};
  }
  return timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &when, nullptr) < 0 ? -errno : 0;
}

Descriptor Deadline::make_timerfd() {
  Descriptor timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) throw_error(errno, "make a timerfd");
  return timer;
}

void Deadline::fired() noexcept {
  set_ = ONLOOP_NO_DEADLINE;
  if (!timer_) return;
  std::uint64_t expirations = 0;
  [[maybe_unused]] const ssize_t got = ::read(timer_.get(), &expirations, sizeof expirations);
}

void Deadline::use_timerfd() {
  if (timer_) return;
  Descriptor timer = make_timerfd();
  runtime()->sources().watch(*this, timer.get(), ONLOOP_READ, "watch a timerfd");
  timer_ = std::move(timer);
  set_ = ONLOOP_NO_DEADLINE;
}

void Deadline::close() noexcept {
  if (timer_) runtime()->sources().unwatch(*this);
  timer_.reset();
  set_ = ONLOOP_NO_DEADLINE;
}

void Deadline::moved(std::uint64_t at, Descriptor timer) noexcept {
  if (timer) timer_ = std::move(timer);
  set_ = at;
}

void Deadline::on_ready(std::uint32_t) {
  runtime()->deadline_fired();
}

void Deadline::sever() noexcept {
  close();
  cut_off();
}

}  // namespace onloop::detail
