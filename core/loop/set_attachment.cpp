#include "core/loop/set_attachment.hpp"

#include <string>

#include "core/base/error.hpp"

namespace onloop::detail {

SetAttachment::SetAttachment(const Loop& loop, const onloop_guest& guest, int set) : attachment_(loop, guest) {
  const int error = attachment_.watch_add(set, ONLOOP_READ, guest.context, &watch_);
  if (error == 0) return;
  const std::string what = "be hosted on the loop \"" + std::string(loop.name()) + "\" by one descriptor";
  throw_error(error, error == -ELOOP ? what + " (epoll sets nest five deep, no deeper)" : what);
}

}  // namespace onloop::detail
