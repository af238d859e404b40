#pragma once
#include "core/loop/loop_attachment.hpp"

namespace onloop::detail {

/// The loop around a context's native set, under aggregate hosting: all that it watches is the set's descriptor.
class SetAttachment {
 public:
  /// Attaches and watches `set`; `guest.on_ready` is called with `guest.context` when the set has events. Throws
  /// std::system_error, and then nothing stays in the loop.
  SetAttachment(const Loop& loop, const onloop_guest& guest, int set);
  SetAttachment(const SetAttachment&) = delete;
  SetAttachment& operator=(const SetAttachment&) = delete;
  ~SetAttachment() { attachment_.watch_remove(watch_); }

  [[nodiscard]] LoopAttachment& attachment() noexcept { return attachment_; }

 private:
  LoopAttachment attachment_;
  onloop_watch* watch_ = nullptr;
};

}  // namespace onloop::detail
