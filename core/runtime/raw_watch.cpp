#include "core/runtime/raw_watch.hpp"

#include <cerrno>
#include <utility>

#include "core/base/at_scope_exit.hpp"
#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"
#include "core/runtime/watched_files.hpp"

namespace onloop {
namespace detail {

static_assert(static_cast<std::uint32_t>(Interest::read) == ONLOOP_READ);
static_assert(static_cast<std::uint32_t>(Interest::write) == ONLOOP_WRITE);
static_assert(static_cast<std::uint32_t>(Interest::priority) == ONLOOP_PRIORITY);

namespace {

/// True for sockets and pipes: each has an inode of its own for as long as it is open.
bool has_own_inode(mode_t mode) noexcept {
  return S_ISSOCK(mode) || S_ISFIFO(mode);
}

std::uint32_t directions_of(Interest interest, const std::string& what) {
  const auto directions = static_cast<std::uint32_t>(interest);
  if (directions & ~(ONLOOP_READ | ONLOOP_WRITE | ONLOOP_PRIORITY))
    throw_error(EINVAL, what + ": the interest has other bits than read, write and priority");
  return directions;
}

}  // namespace

// ---- how a watch begins ----

void RawWatch::start(int fd, const struct stat& status, Interest interest, const std::string& what) {
  const std::uint32_t wanted = directions_of(interest, what);
  auto* there = dynamic_cast<RawWatch*>(runtime()->sources().find(fd));
  if (there && there->has_its_file()) {
    join(*there, wanted, what);
    return;
  }
  runtime()->sources().refuse_if_watched(fd, what);
  runtime()->sources().watch(*this, fd, wanted, what);
  interest_ = static_cast<std::uint8_t>(wanted);
  active_ = true;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  if (!has_own_inode(status.st_mode)) noted_ = runtime()->subsystem<WatchedFiles>().note(fd);
}

void RawWatch::join(RawWatch& first, std::uint32_t interest, const std::string& what) {
  Held<RawWatch>* link = &first.next_;
  while (*link) link = &(*link)->next_;
  *link = Held<RawWatch>(*this);
  interest_ = static_cast<std::uint8_t>(interest);
  active_ = true;
  if (const std::error_code error = runtime()->sources().want(first, first.wanted_by_all())) {
    interest_ = 0;
    active_ = false;
    *link = nullptr;
    (void)runtime()->sources().want(first, first.wanted_by_all());
    throw std::system_error(error, what);
  }
  first_ = &first;
}

bool RawWatch::has_its_file() const noexcept {
  struct stat status {};
  if (fstat(fd(), &status) < 0 || status.st_dev != device_ || status.st_ino != inode_) return false;
  return !noted_ || runtime()->subsystem<WatchedFiles>().has(fd());
}

// ---- while it watches ----

std::uint32_t RawWatch::wanted_by_all() const noexcept {
  std::uint32_t wanted = interest_;
  for (const RawWatch* each = next_.get(); each; each = each->next_.get()) wanted |= each->interest_;
  return wanted;
}

void RawWatch::set_interest(Interest interest) {
  if (!active_) return;
  runtime()->check_thread();
  RawWatch& source = first_ ? *first_ : *this;
  const std::string what = "watch descriptor " + std::to_string(source.fd());
  const std::uint32_t wanted = directions_of(interest, what);
  const std::uint8_t before = std::exchange(interest_, static_cast<std::uint8_t>(wanted));
  if (const std::error_code error = runtime()->sources().want(source, source.wanted_by_all())) {
    interest_ = before;
    (void)runtime()->sources().want(source, source.wanted_by_all());
    throw std::system_error(error, what);
  }
}

/// Calls this watch and the watches that have joined it, in the order in which they began. A watch that joins meanwhile
/// is first called at the next event. Otherwise a callback that replaces its own watch would be called for ever.
void RawWatch::on_ready(std::uint32_t readiness) {
  const AtScopeExit tidy([this] {
    if (next_) forget_ended();
  });
  const RawWatch* last = this;
  while (last->next_) last = last->next_.get();
  if (active_) call(readiness);
  for (RawWatch* each = this; each != last && runtime() && !runtime()->turn_is_over();) {
    each = each->next_.get();
    if (!each->active_) continue;
    const Busy busy(*each);
    each->call(readiness);
  }
}

/// Calls the callback once for each direction that is ready. Urgent data (priority) comes first, because a callback
/// that reads on would lose it.
void RawWatch::call(std::uint32_t readiness) {
  for (const std::uint32_t direction : {ONLOOP_PRIORITY, ONLOOP_READ, ONLOOP_WRITE}) {
    if (!(readiness & interest_ & direction)) continue;  // an earlier call may have changed interest_
    callback_(static_cast<Interest>(direction));
    if (!runtime() || runtime()->turn_is_over()) return;
  }
}

void RawWatch::on_watch_error(std::error_code error) noexcept {
  runtime()->report(error, "watch descriptor " + std::to_string(fd()));
}

// ---- how a watch ends ----

void RawWatch::cancel() noexcept {
  if (!active_) return;
  runtime()->check_thread_or_die();
  RawWatch& source = first_ ? *first_ : *this;
  active_ = false;
  interest_ = 0;
  bool others = source.active_;
  for (const RawWatch* each = source.next_.get(); each && !others; each = each->next_.get()) others = each->active_;
  if (!others) {
    source.end_all();
    return;
  }
  (void)runtime()->sources().want(source, source.wanted_by_all());  // wanting less never fails
  if (std::exchange(first_, nullptr)) cut_off();
  if (!source.busy()) source.forget_ended();
}

/// Ends this watch, which is the source, and all watches that have joined it.
void RawWatch::end_all() noexcept {
  const Held<RawWatch> held(*this);
  if (std::exchange(noted_, false)) {
    if (WatchedFiles* files = runtime()->find_subsystem<WatchedFiles>()) files->forget(fd());
  }
  runtime()->sources().unwatch(*this);
  for (RawWatch* each = this; each; each = each->next_.get()) {
    each->active_ = false;
    each->interest_ = 0;
    each->first_ = nullptr;
    each->cut_off();
  }
  if (!busy()) forget_ended();
  if (!handled_) drop();
}

bool RawWatch::lose_number() noexcept {
  end_all();
  return true;
}

/// Takes the watches that have ended out of the list. It must not be called while the watches of the list are called.
void RawWatch::forget_ended() noexcept {
  for (Held<RawWatch>* link = &next_; *link;) {
    if ((*link)->active_) {
      link = &(*link)->next_;
    } else {
      const Held<RawWatch> ended = std::move(*link);
      *link = std::move(ended->next_);
    }
  }
  if (!handled_) callback_ = nullptr;
}

void RawWatch::release() noexcept {
  const Held<RawWatch> held(*this);  // destroying the callback may destroy other watches
  cancel();
  if (fd() < 0) {
    drop();
    return;
  }
  handled_ = false;
  if (!busy()) callback_ = nullptr;
}

void Retire::operator()(RawWatch* watch) const noexcept {
  watch->release();
}

}  // namespace detail

void Watch::set_interest(Interest interest) {
  if (watch_) watch_->set_interest(interest);
}

void Watch::cancel() noexcept {
  if (watch_) watch_->cancel();
}

bool Watch::active() const noexcept {
  return watch_ && watch_->active();
}

}  // namespace onloop
