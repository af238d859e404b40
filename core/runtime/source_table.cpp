#include "core/runtime/source_table.hpp"

#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include "core/base/error.hpp"
#include "core/runtime/runtime.hpp"

namespace onloop::detail {

void SourceTable::watch(Source& source, int fd, std::uint32_t interest, std::string_view what) {
  const auto slot = static_cast<std::size_t>(fd);
  if (by_descriptor_.size() <= slot) by_descriptor_.resize(slot + 1);
  if (!vacate(fd)) refuse_if_watched(fd, what);
  if (const int error = runtime_.attachments_.sources().watch_add(fd, interest, &source, &source.watch_); error < 0) {
    throw_error(error, std::string(what));
  }
  by_descriptor_[slot] = &source;
  source.fd_ = fd;
  source.wanted_ = source.set_ = static_cast<std::uint8_t>(interest);
}

void SourceTable::refuse_if_watched(int fd, std::string_view what) const {
  const Source* there = find(fd);
  if (!there || !there->has_its_file()) return;
  throw_error(EEXIST, std::string(what) + ": this context watches descriptor " + std::to_string(fd) + " already");
}

bool SourceTable::vacate(int fd) noexcept {
  Source* stale = find(fd);
  if (!stale) return true;
  if (!stale->lose_number()) return false;
  try {
    // Not from within the call that has found out.
    runtime_.post(
        [&runtime = runtime_, what = "descriptor " + std::to_string(fd) + " was closed while it was watched"] {
          runtime.report(error_of(EBADF), what);
        });
  } catch (const std::bad_alloc&) {
    // Then nobody is told. The new descriptor is served all the same.
  }
  return true;
}

/// An interest in READ that is no longer wanted stays in the loop until the next event of the source. Most pauses are
/// short, and removing and adding again costs more than two changes.
std::error_code SourceTable::want(Source& source, std::uint32_t interest) noexcept {
  source.wanted_ = static_cast<std::uint8_t>(interest);
  if (interest == source.set_ || (interest | ONLOOP_READ) == source.set_) return {};
  if (const int error = runtime_.attachments_.sources().watch_set(source.watch_, interest); error < 0)
    return error_of(error);
  source.set_ = static_cast<std::uint8_t>(interest);
  if (runtime_.fd_given_ && runtime_.frames() == 0)
    runtime_.announce_rest();  // data that came while nobody wanted it is no new event
  return {};
}

void SourceTable::unwatch(Source& source) noexcept {
  if (source.fd_ < 0) return;
  source.ready_ = Source::kGone;  // if the source is in the list of what is ready, it stays there until its turn
  if (source.watch_) {
    if (runtime_.forked()) runtime_.attachments_.sources().abandon();  // a removal must not reach the parent's loop
    runtime_.attachments_.sources().watch_remove(std::exchange(source.watch_, nullptr));
  }
  by_descriptor_[static_cast<std::size_t>(source.fd_)] = nullptr;
  source.fd_ = -1;
  source.wanted_ = source.set_ = 0;
}

void SourceTable::sever() noexcept {
  for (std::size_t fd = 0; fd < by_descriptor_.size(); ++fd) {
    if (by_descriptor_[fd]) by_descriptor_[fd]->sever();
  }
}

}  // namespace onloop::detail
