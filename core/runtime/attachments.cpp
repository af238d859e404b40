#include "core/runtime/attachments.hpp"

#include <cerrno>
#include <utility>

#include "core/base/error.hpp"
#include "core/runtime/upcalls.hpp"

namespace onloop::detail {

std::unique_ptr<LoopAttachment> Attachments::for_sources(Runtime& runtime, const Loop& loop) {
  const onloop_guest guest = Upcalls::guest(runtime);
  return std::make_unique<LoopAttachment>(loop.hosting() == Hosting::aggregate ? native() : loop, guest);
}

std::unique_ptr<SetAttachment> Attachments::for_set(Runtime& runtime, const Loop& loop, LoopAttachment& set) {
  if (loop.hosting() == Hosting::direct) return nullptr;
  const int fd = set.fd();
  if (fd < 0) throw_error(ENOTSUP, "host by one descriptor: the native loop has none; use direct hosting");
  return std::make_unique<SetAttachment>(loop, Upcalls::set_guest(runtime), fd);
}

Attachments::Attachments(Runtime& runtime, const Loop& loop)
    : sources_(for_sources(runtime, loop)), set_(for_set(runtime, loop, *sources_)) {
  find_driven();
}

void Attachments::replace(std::unique_ptr<LoopAttachment> sources, std::unique_ptr<SetAttachment> set) noexcept {
  set_ = std::move(set);  // first, because the old host watches the native set, which the next line may destroy
  if (sources) sources_ = std::move(sources);
  find_driven();
}

void Attachments::abandon() noexcept {
  sources_->abandon();
  if (set_) set_->attachment().abandon();
}

void Attachments::detach() noexcept {
  set_.reset();
  sources_.reset();
}

}  // namespace onloop::detail
