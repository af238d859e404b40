#include "core/runtime/raw_watch.hpp"

#include <string>

#include "core/runtime/runtime.hpp"

namespace onloop {
namespace detail {

static_assert(static_cast<std::uint32_t>(Interest::read) == ONLOOP_READ);
static_assert(static_cast<std::uint32_t>(Interest::write) == ONLOOP_WRITE);

void RawWatch::set(Interest interest) {
  if (!active()) return;
  runtime()->check_thread();
  const auto before = wanted();
  if (const std::error_code error = runtime()->want(*this, static_cast<std::uint32_t>(interest))) {
    (void)runtime()->want(*this, before);
    throw std::system_error(error, "watch descriptor " + std::to_string(fd()));
  }
}

void RawWatch::cancel() noexcept {
  if (!active()) return;
  runtime()->check_thread_or_die();
  runtime()->unwatch(*this);
  cut_off();
}

void RawWatch::on_ready(std::uint32_t readiness) {
  for (const std::uint32_t direction : {ONLOOP_READ, ONLOOP_WRITE}) {
    if (!(readiness & wanted() & direction)) continue;  // the first may change the second
    callback_(static_cast<Interest>(direction));
    if (!runtime() || runtime()->turn_is_over()) return;
  }
}

void RawWatch::on_watch_error(std::error_code error) noexcept {
  runtime()->report(error, "watch descriptor " + std::to_string(fd()));
}

void Retire::operator()(RawWatch* watch) const noexcept {
  watch->cancel();
  watch->drop();
}

}  // namespace detail

void Watch::set(Interest interest) {
  if (watch_) watch_->set(interest);
}

void Watch::cancel() noexcept {
  if (watch_) watch_->cancel();
}

bool Watch::active() const noexcept {
  return watch_ && watch_->active();
}

}  // namespace onloop
