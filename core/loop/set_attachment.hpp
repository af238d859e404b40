#pragma once
#include "core/loop/loop_attachment.hpp"

namespace onloop::detail {

/// The attachment of a context to its host under aggregate hosting. The host watches one descriptor for the context,
/// which is the descriptor of the context's native set. Attachments owns this object. Thread: the context's.
class SetAttachment {
 public:
  /// Attaches to the loop and watches `set`. When the set has events, the loop calls `guest.on_ready` with
  /// `guest.context`. Throws std::system_error; nothing stays in the loop then.
  ///
  /// @param set The descriptor of the native set. The caller keeps it open for as long as this object lives.
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
